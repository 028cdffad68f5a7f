// The Go driver, version 2, against a server: what differs from version 1, which ../go is asked in full; see ../README.md.
//
// It looks for the version of the protocol by itself, from 5 down, and packs what it sends.
package main

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/apache/cassandra-gocql-driver/v2/lz4"
)

const wait = 60 * time.Second

var (
	held   int
	failed int
	input  = bufio.NewScanner(os.Stdin)
)

func must(what string, err error) {
	if err != nil {
		fmt.Printf("FAILED %s: %s\n", what, err)
		os.Exit(1)
	}
}

func equal(what string, got, expected any) {
	if reflect.DeepEqual(got, expected) {
		held++
		return
	}
	failed++
	fmt.Printf("FAILED %s: expected %#v, got %#v\n", what, expected, got)
}

// until calls until there is no error: the driver connects again by itself, and that takes it a moment.
func until(what string, call func() error) {
	deadline := time.Now().Add(wait)
	for {
		err := call()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			must(what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func main() {
	host, keyspace, datacenter := os.Args[1], os.Args[3], os.Args[4]
	port, err := strconv.Atoi(os.Args[2])
	must("the port", err)
	cluster := gocql.NewCluster(host)
	cluster.Port = port
	cluster.Timeout = 20 * time.Second
	cluster.ConnectTimeout = 10 * time.Second
	cluster.Consistency = gocql.LocalQuorum
	cluster.Compressor = lz4.LZ4Compressor{}
	cluster.ReconnectInterval = time.Second
	cluster.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(gocql.DCAwareRoundRobinPolicy(datacenter))
	session, err := cluster.CreateSession()
	must("a session", err)
	defer session.Close()
	exec := func(text string, values ...any) {
		must(text, session.Query(text, values...).Exec())
	}
	exec("CREATE KEYSPACE " + keyspace + " WITH replication = {'class': 'NetworkTopologyStrategy', '" + datacenter + "': 1}")
	table := keyspace + ".messages"
	exec("CREATE TABLE " + table + " (channel bigint, id int, content text, tags set<text>, PRIMARY KEY (channel, id)) " +
		"WITH CLUSTERING ORDER BY (id DESC)")
	write := "INSERT INTO " + table + " (channel, id, content, tags) VALUES (?, ?, ?, ?)"
	for at := 0; at < 100; at++ {
		exec(write, int64(1), at, fmt.Sprintf("message %d", at), []string{"b", "a"})
	}
	exec(write, int64(1), 100, nil, gocql.UnsetValue)
	read := "SELECT id, content, tags FROM " + table + " WHERE channel = ?"
	var state []byte
	pages := 0
	var seen []int
	for pages < 20 {
		iter := session.Query(read, int64(1)).PageSize(10).PageState(state).Iter()
		state = iter.PageState()
		scanner := iter.Scanner()
		for scanner.Next() {
			var id int
			var content *string
			var tags []string
			must("a row", scanner.Scan(&id, &content, &tags))
			if len(seen) == 0 {
				equal("null and not set", []any{content, tags}, []any{(*string)(nil), []string(nil)})
			} else {
				equal("a row", []any{*content, tags}, []any{fmt.Sprintf("message %d", id), []string{"a", "b"}})
			}
			seen = append(seen, id)
		}
		must("a page", scanner.Err())
		pages++
		if len(state) == 0 {
			break
		}
	}
	equal("pages", pages, 11)
	equal("rows", []int{len(seen), seen[0], seen[len(seen)-1]}, []int{101, 100, 0})
	once := "INSERT INTO " + table + " (channel, id, content) VALUES (?, ?, ?) IF NOT EXISTS"
	for _, expected := range []bool{true, false} {
		row := map[string]any{}
		applied, err := session.Query(once, int64(2), 1, "first").MapScanCAS(row)
		must("a condition", err)
		equal("if not exists", applied, expected)
	}
	batch := session.Batch(gocql.LoggedBatch)
	batch.Query(write, int64(3), 1, "in a batch", nil)
	batch.Query("DELETE FROM "+table+" WHERE channel = ? AND id = ?", int64(1), 100)
	must("a batch", batch.Exec())
	everything := "SELECT * FROM " + table + " WHERE channel = ? LIMIT 3"
	width := func() int {
		rows, err := session.Query(everything, int64(1)).Iter().SliceMap()
		must("rows", err)
		equal("rows", len(rows), 3)
		return len(rows[2])
	}
	equal("columns", width(), 4)
	exec("ALTER TABLE " + table + " ADD edited timestamp")
	equal("a column more in what was prepared", width(), 5)
	for turn := 0; turn < 2; turn++ {
		fmt.Println("RESTART")
		if !input.Scan() || strings.TrimSpace(input.Text()) != "RESTARTED" {
			must("a restart", fmt.Errorf("the server was not started again: %q", input.Text()))
		}
		count := 0
		until("rows", func() error {
			iter := session.Query(read, int64(1)).Iter()
			count = iter.NumRows()
			return iter.Close()
		})
		equal("rows after a restart", count, 100)
		until("a write", func() error { return session.Query(write, int64(4), turn, "after", nil).Exec() })
	}
	exec("DROP KEYSPACE " + keyspace)
	if failed > 0 {
		fmt.Printf("go-v2: %d of %d checks failed\n", failed, failed+held)
		os.Exit(1)
	}
	fmt.Printf("OK %d\n", held)
}
