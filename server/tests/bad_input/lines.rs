//! Bad lines and bad files to import.

use super::{T, check_rows, closed_store, gzip, line, row};
use crate::common::{folder, history, scrollback, stdout_of, text, write};

#[test]
fn bad_lines() {
    let folder = folder("bad-lines-");
    let dir = folder.path();
    let (store, _) = closed_store(dir, "store");
    let good = line(T, "x");
    let packed = gzip((0..500).map(|i| line(T + i, "z")).collect::<String>().as_bytes());
    let (mut flipped, mut renamed) = (packed.clone(), packed.clone());
    let at = flipped.len() - 6; // its checksum
    flipped[at] ^= 1;
    renamed[0] = b'x';
    let files: [(&str, &str, Vec<u8>); 20] = [
        (
            "line 2: malformed JSON",
            "malformed.jsonl",
            [good.as_bytes(), b"{\"ts_ms\":1]\n"].concat(),
        ),
        ("line 1: JSON cut short", "cut.jsonl", good.as_bytes()[..40].to_vec()),
        ("line 2: empty", "empty-line.jsonl", [good.as_bytes(), b"\n"].concat()),
        ("line 1: not a JSON object", "array.jsonl", b"[1]\n".to_vec()),
        (
            "line 1: not a JSON object",
            "values.jsonl",
            b"[1600000000000,\"#c\",\"a\",\"x\"]\n".to_vec(),
        ),
        (
            "line 1: \"content\" is missing",
            "missing.jsonl",
            good.replace("content", "text").into_bytes(),
        ),
        (
            "line 1: \"ts_ms\" is not a whole number",
            "text-time.jsonl",
            good.replace(&T.to_string(), "\"now\"").into_bytes(),
        ),
        (
            "line 1: \"channel\" is empty",
            "no-name.jsonl",
            good.replace("#c", "").into_bytes(),
        ),
        ("line 1: \"author\" is 1025 bytes long", "long-name.jsonl", {
            good.replace("\"a\"", &format!("\"{}\"", "a".repeat(1025))).into_bytes()
        }),
        (
            "lies before the store's epoch",
            "early.jsonl",
            line(1, "x").into_bytes(),
        ),
        (
            "lies before the store's epoch",
            "negative.jsonl",
            line(-1, "x").into_bytes(),
        ),
        ("beyond the 41 bits", "late.jsonl", line(i64::MAX, "x").into_bytes()),
        (
            "1048577 bytes long, more than 1 MiB",
            "long.jsonl",
            line(T, &"x".repeat((1 << 20) + 1)).into_bytes(),
        ),
        (
            "line 1: longer than 8 MiB",
            "endless.jsonl",
            line(T, &"x".repeat(9 << 20)).into_bytes(),
        ),
        (
            "line 2: not UTF-8 from its byte 1 on",
            "latin.jsonl",
            [good.as_bytes(), b"\xe9\n"].concat(),
        ),
        ("not UTF-8", "latin-content.jsonl", {
            let mut bytes = line(T, "caf?").into_bytes();
            let at = bytes.iter().position(|b| *b == b'?').unwrap();
            bytes[at] = 0xE9;
            bytes
        }),
        (
            "its content is not gzip",
            "text.jsonl.gz",
            b"hello hello hello".to_vec(),
        ),
        ("its content is not gzip", "renamed.jsonl.gz", renamed),
        (
            "the gzip data is cut short",
            "cut.jsonl.gz",
            packed[..packed.len() - 4].to_vec(),
        ),
        ("the gzip data is damaged", "flipped.jsonl.gz", flipped),
    ];
    let mut rows: Vec<_> = files
        .into_iter()
        .map(|(says, name, bytes)| {
            let path = write(dir.join(name), &bytes);
            row(1, says, ["import", "--data", text(&store), text(&path)])
        })
        .collect();
    rows.push(row(1, "is a directory", ["import", "--data", text(&store), text(dir)]));
    rows.push(row(
        1,
        "No such file",
        ["import", "--data", text(&store), text(&dir.join("nothing"))],
    ));
    rows.push(row(
        1,
        "not a plain file",
        ["import", "--data", text(&store), "/dev/null"],
    ));
    check_rows(&store, &rows);

    // A refused file makes no store.
    let new = dir.join("new");
    row(
        1,
        "malformed",
        ["import", "--data", text(&new), text(&dir.join("malformed.jsonl"))],
    )
    .check();
    assert!(!new.exists());
}

#[test]
fn what_is_legal_is_taken_and_bad_lines_are_left_out_when_asked() {
    let folder = folder("legal-");
    let dir = folder.path();
    let longest = "x".repeat(1 << 20);
    let chat = [
        line(T, ""),
        line(T, &longest),
        "nonsense\n".to_owned(),
        line(1, "early"),
        line(T + 1, "y"),
    ]
    .concat();
    let chat = write(dir.join("chat.jsonl"), chat.as_bytes());
    let store = dir.join("store");
    let args = [
        "import",
        "--skip-bad",
        "--data",
        text(&store),
        "--format",
        "jsonl",
        text(&chat),
    ];
    for (added, present) in [(3, 0), (0, 3)] {
        let output = scrollback(args);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let summary = format!("{{\"read\":5,\"added\":{added},\"present\":{present},\"bad\":2}}");
        assert_eq!(
            (output.status.code(), stdout.lines().last()),
            (Some(0), Some(&*summary))
        );
        let stderr = String::from_utf8(output.stderr).unwrap();
        let named: Vec<&str> = stderr.lines().collect();
        assert!(named[0].contains("line 3 is left out: malformed"), "{stderr}");
        assert!(
            named[1].contains("line 4 is left out: the time 1 ms lies before"),
            "{stderr}"
        );
        assert_eq!(named.len(), 2, "{stderr}");
    }
    let contents: Vec<String> = history(&store, "#c")
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["content"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(contents, ["y", &longest, ""]);
    stdout_of([
        "send",
        "--data",
        text(&store),
        "--channel",
        "#c",
        "--author",
        "a",
        "--content",
        "",
    ]);
}
