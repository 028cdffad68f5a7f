// The Go driver against a server; see ../README.md.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"
	"github.com/pierrec/lz4/v4"
	"gopkg.in/inf.v0"
)

const wait = 60 * time.Second

var (
	held   int
	failed int
	input  = bufio.NewScanner(os.Stdin)
)

// stop ends the course: what follows would make no sense.
type stop struct{ error }

// quiet says nothing of what is tried again.
type quiet struct{}

func (quiet) Print(...any)          {}
func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// packed is LZ4 as the protocol has it: the length, then a block.
type packed struct{}

func (packed) Name() string { return "lz4" }

func (packed) Encode(data []byte) ([]byte, error) {
	out := make([]byte, 4+lz4.CompressBlockBound(len(data)))
	binary.BigEndian.PutUint32(out, uint32(len(data)))
	var compressor lz4.Compressor
	n, err := compressor.CompressBlock(data, out[4:])
	return out[:4+n], err
}

func (packed) Decode(data []byte) ([]byte, error) {
	if len(data) < 4 {
		return nil, fmt.Errorf("%d bytes of LZ4", len(data))
	}
	out := make([]byte, binary.BigEndian.Uint32(data))
	if len(out) == 0 {
		return nil, nil
	}
	n, err := lz4.UncompressBlock(data[4:], out)
	return out[:n], err
}

func must(what string, err error) {
	if err != nil {
		panic(stop{fmt.Errorf("%s: %w", what, err)})
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

func refused(what, text string, err error) {
	if err == nil {
		equal(what, "went through", text)
		return
	}
	equal(fmt.Sprintf("%s: %q in %q", what, text, err), strings.Contains(err.Error(), text), true)
}

func restart() {
	fmt.Println("RESTART")
	if !input.Scan() || strings.TrimSpace(input.Text()) != "RESTARTED" {
		panic(stop{fmt.Errorf("the server was not started again: %q", input.Text())})
	}
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

type address struct {
	Street *string  `cql:"street"`
	Number *int     `cql:"number"`
	Tags   []string `cql:"tags"`
}

type column struct {
	name, kind string
	value      any
}

func columns() []column {
	street, number := "Main street", 5
	home := address{&street, &number, []string{"home", "work"}}
	varint := new(big.Int).Lsh(big.NewInt(-1), 200)
	decimal, _ := new(inf.Dec).SetString("-12345678901234567890.0123456789")
	uuid, _ := gocql.ParseUUID("cfd66ccc-d857-4e90-b1e5-df98a3d40cd6")
	return []column{
		{"v_ascii", "ascii", "plain"},
		{"v_bigint", "bigint", int64(math.MinInt64)},
		{"v_blob", "blob", []byte{0, 255, 128}},
		{"v_boolean", "boolean", true},
		{"v_date", "date", time.Date(2015, 5, 3, 0, 0, 0, 0, time.UTC)},
		{"v_decimal", "decimal", decimal},
		{"v_double", "double", 2.5e-300},
		{"v_duration", "duration", gocql.Duration{Months: -1, Days: -2, Nanoseconds: -3}},
		{"v_float", "float", float32(0.15625)},
		{"v_inet", "inet", net.ParseIP("2001:db8::1")},
		{"v_int", "int", math.MinInt32},
		{"v_smallint", "smallint", int16(math.MinInt16)},
		{"v_text", "text", "grüße 😀\n"},
		{"v_time", "time", 86_399_999_999_999 * time.Nanosecond},
		{"v_timestamp", "timestamp", time.UnixMilli(1_430_659_854_234).UTC()},
		{"v_timeuuid", "timeuuid", id(7)},
		{"v_tinyint", "tinyint", int8(math.MinInt8)},
		{"v_uuid", "uuid", uuid},
		{"v_varchar", "varchar", ""},
		{"v_varint", "varint", varint},
		{"v_list", "list<int>", []int{3, 1, 3}},
		{"v_set", "set<text>", []string{"a", "b"}},
		{"v_map", "map<text, bigint>", map[string]int64{"a": 1, "b": -1}},
		{"v_frozen_list", "frozen<list<text>>", []string{"x", "", "y"}},
		{"v_frozen_map", "map<int, frozen<set<int>>>", map[int][]int{1: {1, 2}}},
		{"v_udt", "frozen<address>", home},
		{"v_open_udt", "address", address{&street, nil, nil}},
		{"v_udts", "list<frozen<address>>", []address{home, {}}},
	}
}

// id is a message's; later ones are greater.
func id(at int) gocql.UUID {
	id, err := gocql.ParseUUID(fmt.Sprintf("%08x-1dd2-11b2-8080-808080808080", 0x13814000+at))
	must("an id", err)
	return id
}

type course struct {
	session                            *gocql.Session
	keyspace                           string
	insert, selectTypes                string
	write, read, get, once, everything string
	columns                            []column
}

func main() {
	defer func() {
		switch of := recover().(type) {
		case nil:
		case stop:
			equal("the course", of.Error(), "its end")
		default:
			panic(of)
		}
		if failed > 0 {
			fmt.Printf("go: %d of %d checks failed\n", failed, failed+held)
			os.Exit(1)
		}
		fmt.Printf("OK %d\n", held)
	}()
	host, keyspace, datacenter := os.Args[1], os.Args[3], os.Args[4]
	port, err := strconv.Atoi(os.Args[2])
	must("the port", err)
	cluster := gocql.NewCluster(host)
	cluster.Port = port
	cluster.Logger = quiet{}
	cluster.ProtoVersion = 4
	cluster.Timeout = 20 * time.Second
	cluster.ConnectTimeout = 10 * time.Second
	cluster.Consistency = gocql.LocalQuorum
	cluster.Compressor = packed{}
	cluster.ReconnectInterval = time.Second
	cluster.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 1000, Interval: 200 * time.Millisecond}
	policy := func() gocql.HostSelectionPolicy {
		return gocql.TokenAwareHostPolicy(gocql.DCAwareRoundRobinPolicy(datacenter))
	}
	cluster.PoolConfig.HostSelectionPolicy = policy()

	first, err := cluster.CreateSession()
	must("a session", err)
	ddl := "CREATE KEYSPACE " + keyspace + " WITH replication = {'class': 'NetworkTopologyStrategy', '" + datacenter + "': 1}"
	must("a keyspace", first.Query(ddl).Exec())
	refused("a keyspace twice", keyspace, first.Query(ddl).Exec())
	var exists *gocql.RequestErrAlreadyExists
	equal("the kind of that error", errors.As(first.Query(ddl).Exec(), &exists), true)
	first.Close()
	cluster.Keyspace = keyspace
	cluster.PoolConfig.HostSelectionPolicy = policy()
	session, err := cluster.CreateSession()
	must("a session with a keyspace", err)
	defer session.Close()
	of := &course{session: session, keyspace: keyspace, columns: columns()}
	of.schema()
	of.types()
	of.pages()
	of.changes()
	of.conditions()
	of.batches()
	of.tables()
	of.restarts()
}

func (of *course) exec(text string, values ...any) {
	must(text, of.session.Query(text, values...).Exec())
}

func (of *course) schema() {
	of.exec("CREATE TYPE address (street text, number int, tags frozen<set<text>>)")
	listed := make([]string, 0, len(of.columns))
	for _, column := range of.columns {
		listed = append(listed, column.name+" "+column.kind)
	}
	listed = append(listed, "v_tuple tuple<int, text, boolean>")
	of.exec("CREATE TABLE all_types (id int PRIMARY KEY, " + strings.Join(listed, ", ") + ")")
	of.exec("CREATE TABLE messages (channel_id bigint, bucket int, message_id timeuuid, author_id bigint, content text, " +
		"edited timestamp, attachments list<text>, topic text static, PRIMARY KEY ((channel_id, bucket), message_id)) " +
		"WITH CLUSTERING ORDER BY (message_id DESC)")
	must("schema agreement", of.session.AwaitSchemaAgreement(context.Background()))

	// It gathers events for a second before it looks.
	var known *gocql.KeyspaceMetadata
	until("what is known of the keyspace", func() (err error) {
		known, err = of.session.KeyspaceMetadata(of.keyspace)
		if err == nil && known.Tables["messages"] == nil {
			err = errors.New("the table is not known")
		}
		return err
	})
	equal("strategy", strings.HasSuffix(known.StrategyClass, "NetworkTopologyStrategy"), true)
	table := known.Tables["messages"]
	var key []string
	for _, column := range table.PartitionKey {
		key = append(key, column.Name)
	}
	equal("partition key", key, []string{"channel_id", "bucket"})
	equal("clustering key", table.ClusteringColumns[0].Name, "message_id")
	equal("order", table.ClusteringColumns[0].Order, gocql.DESC)
	equal("static", table.Columns["topic"].Kind, gocql.ColumnStatic)
	equal("columns", len(known.Tables["all_types"].Columns), len(of.columns)+2)
	equal("fields", known.UserTypes["address"].FieldNames, []string{"street", "number", "tags"})
}

func (of *course) types() {
	names := []string{"id"}
	for _, column := range of.columns {
		names = append(names, column.name)
	}
	list := strings.Join(names, ", ")
	of.insert = "INSERT INTO all_types (" + list + ") VALUES (?" + strings.Repeat(", ?", len(names)-1) + ")"
	of.selectTypes = "SELECT " + strings.Join(names[1:], ", ") + " FROM all_types WHERE id = ?"
	full, nothing, unset, half, halfLeft := []any{1}, []any{2}, []any{1}, []any{1}, []any{}
	for at, column := range of.columns {
		full = append(full, column.value)
		null := reflect.Zero(reflect.PointerTo(reflect.TypeOf(column.value))).Interface()
		nothing = append(nothing, null)
		unset = append(unset, gocql.UnsetValue)
		if at%2 == 0 {
			half, halfLeft = append(half, gocql.UnsetValue), append(halfLeft, column.value)
		} else {
			half, halfLeft = append(half, null), append(halfLeft, nil)
		}
	}
	for _, of2 := range []struct {
		what     string
		values   []any
		expected []any
	}{
		{"written", full, full[1:]},
		{"null", nothing, make([]any, len(of.columns))},
		{"not set", unset, full[1:]},
		{"half null", half, halfLeft},
	} {
		of.exec(of.insert, of2.values...)
		of.compare(of2.what, of2.values[0].(int), of2.expected)
	}
	refused("a key that is null", "null", of.session.Query(of.insert, append([]any{nil}, full[1:]...)...).Exec())
	refused("an unknown column", "nope", of.session.Query("SELECT nope FROM all_types").Exec())
	of.exec("UPDATE all_types SET v_tuple = (?, ?, ?) WHERE id = 2", 1, "one", nil)
	var number *int
	var text *string
	var truth *bool
	err := of.session.Query("SELECT v_tuple FROM all_types WHERE id = 2").Scan(&number, &text, &truth)
	must("a tuple", err)
	equal("tuple", []any{*number, *text, truth}, []any{1, "one", (*bool)(nil)})
	of.exec("UPDATE all_types SET v_list = v_list + ?, v_set = v_set + ?, v_map[?] = ? WHERE id = ?",
		[]int{9}, []string{"c"}, "c", int64(7), 2)
	var list1 []int
	var set1 []string
	var map1 map[string]int64
	err = of.session.Query("SELECT v_list, v_set, v_map FROM all_types WHERE id = 2").Scan(&list1, &set1, &map1)
	must("collections", err)
	equal("collections edited", []any{list1, set1, map1}, []any{[]int{9}, []string{"c"}, map[string]int64{"c": 7}})
}

// compare reads each column into a pointer, which is nil where the column is null.
func (of *course) compare(what string, key int, expected []any) {
	targets := make([]any, len(of.columns))
	for at, column := range of.columns {
		targets[at] = reflect.New(reflect.PointerTo(reflect.TypeOf(column.value))).Interface()
	}
	must(what, of.session.Query(of.selectTypes, key).Scan(targets...))
	for at, column := range of.columns {
		got := reflect.ValueOf(targets[at]).Elem()
		name := what + " " + column.name
		if expected[at] == nil {
			equal(name, got.IsNil(), true)
			continue
		}
		if got.IsNil() {
			equal(name, nil, expected[at])
			continue
		}
		switch expected := expected[at].(type) {
		case *inf.Dec:
			equal(name, (*got.Interface().(**inf.Dec)).String(), expected.String())
		case *big.Int:
			equal(name, (*got.Interface().(**big.Int)).String(), expected.String())
		default:
			equal(name, got.Elem().Interface(), expected)
		}
	}
}

func (of *course) ids(text string, values ...any) []gocql.UUID {
	iter := of.session.Query(text, values...).Iter()
	ids, one := []gocql.UUID{}, gocql.UUID{}
	for iter.Scan(&one) {
		ids = append(ids, one)
	}
	must(text, iter.Close())
	return ids
}

func (of *course) pages() {
	of.write = "INSERT INTO messages (channel_id, bucket, message_id, author_id, content, attachments) VALUES (?, ?, ?, ?, ?, ?)"
	of.read = "SELECT message_id FROM messages WHERE channel_id = ? AND bucket = ?"
	for at := 0; at < 100; at++ {
		of.exec(of.write, int64(1), 1, id(at), int64(at%7), fmt.Sprintf("message %d", at), []string{"file"})
	}
	var seen, newestFirst []gocql.UUID
	for at := 99; at >= 0; at-- {
		newestFirst = append(newestFirst, id(at))
	}
	var state []byte
	pages := 0
	for pages < 20 {
		iter := of.session.Query(of.read, int64(1), 1).PageSize(10).PageState(state).Iter()
		state = iter.PageState()
		equal("rows of a page", iter.NumRows(), 10)
		scanner := iter.Scanner()
		for scanner.Next() {
			var one gocql.UUID
			must("a row", scanner.Scan(&one))
			seen = append(seen, one)
		}
		must("a page", scanner.Err())
		pages++
		if len(state) == 0 {
			break
		}
	}
	equal("pages", pages, 10)
	equal("rows in order", seen, newestFirst)
	iter := of.session.Query("SELECT message_id FROM messages").PageSize(10).Iter()
	scanned := 0
	for one := (gocql.UUID{}); iter.Scan(&one); {
		scanned++
	}
	must("a scan", iter.Close())
	equal("a scan in pages", scanned, 100)
	older := of.ids("SELECT message_id FROM messages WHERE channel_id = ? AND bucket = ? AND message_id < ? LIMIT ?",
		int64(1), 1, id(50), 3)
	equal("older than", older, newestFirst[50:53])
	var count int64
	err := of.session.Query("SELECT count(*) FROM messages WHERE channel_id = ? AND bucket = ?", int64(1), 1).Scan(&count)
	must("count", err)
	equal("count", count, int64(100))
}

func (of *course) content(channel int64, message gocql.UUID) string {
	var content *string
	err := of.session.Query(of.get, channel, 1, message).Scan(&content)
	switch {
	case errors.Is(err, gocql.ErrNotFound):
		return "(none)"
	case err != nil:
		return err.Error()
	case content == nil:
		return "(null)"
	}
	return *content
}

func (of *course) changes() {
	of.get = "SELECT content FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?"
	of.exec("UPDATE messages SET content = ?, edited = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?",
		"edited", time.UnixMilli(1_577_836_800_000), int64(1), 1, id(0))
	equal("edited", of.content(1, id(0)), "edited")
	of.exec("DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?", int64(1), 1, id(1))
	equal("deleted", of.content(1, id(1)), "(none)")
	of.exec("DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id >= ? AND message_id < ?",
		int64(1), 1, id(10), id(20))
	equal("a range deleted", len(of.ids(of.read, int64(1), 1)), 89)
	of.exec("UPDATE messages USING TTL ? AND TIMESTAMP ? SET content = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?",
		1000, int64(4_000_000_000_000_000), "soon", int64(1), 1, id(3))
	var left int
	var written int64
	err := of.session.Query("SELECT ttl(content), writetime(content) FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?",
		int64(1), 1, id(3)).Scan(&left, &written)
	must("ttl", err)
	equal("ttl", left > 900 && left <= 1000, true)
	equal("writetime", written, int64(4_000_000_000_000_000))
}

func (of *course) conditions() {
	of.once = "INSERT INTO messages (channel_id, bucket, message_id, content) VALUES (?, ?, ?, ?) IF NOT EXISTS"
	cas := func(text string, values ...any) (bool, map[string]any) {
		row := map[string]any{}
		applied, err := of.session.Query(text, values...).MapScanCAS(row)
		must(text, err)
		return applied, row
	}
	applied, _ := cas(of.once, int64(2), 1, id(0), "first")
	equal("if not exists", applied, true)
	applied, row := cas(of.once, int64(2), 1, id(0), "second")
	equal("if not exists, not applied", []any{applied, row["content"]}, []any{false, "first"})
	swap := "UPDATE messages SET content = ? WHERE channel_id = ? AND bucket = ? AND message_id = ? IF content = ?"
	applied, _ = cas(swap, "next", int64(2), 1, id(0), "first")
	equal("if", applied, true)
	applied, row = cas(swap, "next", int64(2), 1, id(0), "first")
	equal("if, not applied", []any{applied, row["content"]}, []any{false, "next"})
	batch := of.session.NewBatch(gocql.LoggedBatch)
	batch.Query(of.once, int64(9), 1, id(0), "a")
	batch.Query(of.once, int64(9), 1, id(1), "b")
	for _, expected := range []bool{true, false} {
		applied, iter, err := of.session.MapExecuteBatchCAS(batch, map[string]any{})
		must("a batch with conditions", err)
		must("its rows", iter.Close())
		equal("batch with conditions", applied, expected)
	}
}

func (of *course) batches() {
	for at, kind := range []gocql.BatchType{gocql.LoggedBatch, gocql.UnloggedBatch} {
		channel := int64(3 + at)
		batch := of.session.NewBatch(kind)
		for nth := 0; nth < 5; nth++ {
			batch.Query(of.write, channel, 1, id(nth), int64(1), "in a batch", nil)
		}
		batch.Query("DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?", int64(1), 1, id(30+at))
		must("a batch", of.session.ExecuteBatch(batch))
		equal("batch", len(of.ids(of.read, channel, 1)), 5)
		equal("batch deletes", of.content(1, id(30+at)), "(none)")
	}
}

func (of *course) tables() {
	of.everything = "SELECT * FROM messages WHERE channel_id = ? AND bucket = ? LIMIT 3"
	width := func() int {
		iter := of.session.Query(of.everything, int64(3), 1).Iter()
		rows, err := iter.SliceMap()
		must("a row", err)
		equal("rows", len(rows), 3)
		return len(rows[2])
	}
	equal("columns", width(), 8)
	of.exec("ALTER TABLE messages ADD reactions map<text, int>")
	// This driver does not look at the columns that come with rows: it must be told to prepare it again.
	equal("a column more in what was prepared", width(), 9)
	of.exec("CREATE TABLE passing (id int PRIMARY KEY, v int)")
	of.exec("INSERT INTO passing (id, v) VALUES (?, ?)", 1, 1)
	of.exec("TRUNCATE passing")
	rows, err := of.session.Query("SELECT * FROM passing").Iter().SliceMap()
	must("a table", err)
	equal("truncated", len(rows), 0)
	of.exec("DROP TABLE passing")
	until("dropped", func() error {
		known, err := of.session.KeyspaceMetadata(of.keyspace)
		if err == nil && known.Tables["passing"] != nil {
			err = errors.New("the table is still known")
		}
		return err
	})
	held++
}

func (of *course) restarts() {
	before := of.ids(of.read, int64(1), 1)
	for turn := 0; turn < 2; turn++ {
		restart()
		var after []gocql.UUID
		until("after a restart", func() error {
			iter := of.session.Query(of.read, int64(1), 1).Iter()
			after = nil
			for one := (gocql.UUID{}); iter.Scan(&one); {
				after = append(after, one)
			}
			return iter.Close()
		})
		equal("rows after a restart", after, before)
		channel := int64(10 + turn)
		until("a write", func() error {
			return of.session.Query(of.write, channel, 1, id(0), int64(1), "after", nil).Exec()
		})
		equal("written after a restart", of.content(channel, id(0)), "after")
		row := map[string]any{}
		applied, err := of.session.Query(of.once, int64(2), 1, id(0), "x").MapScanCAS(row)
		must("a condition", err)
		equal("once more, after a restart", applied, false)
	}
	of.exec("DROP KEYSPACE " + of.keyspace)
}
