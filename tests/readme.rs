//! The README's program, as it stands there, runs.

include!("readme/program.rs");

#[test]
fn the_program_of_the_readme_runs() {
    let readme = include_str!("../README.md");
    let shown = readme
        .split("```rust,no_run\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let program = include_str!("readme/program.rs");
    assert_eq!(shown, Some(program), "README.md shows another program");

    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    std::env::set_current_dir(folder.path()).expect("the folder is there");
    for run in 1..=2 {
        main().expect("it runs");
        let sent = scrollback::block_on(async {
            let store = Messages::open(Config::new("chat-data")).await?;
            let general = store.channel("general").await?;
            let page = store.history(general, History::oldest(50)).await?;
            let edited = page
                .messages()
                .filter(|message| matches!(message, Ok(m) if m.edited_ms.is_some()));
            let edited = edited.count();
            store.close().await?;
            scrollback::Result::Ok((page.len(), edited))
        });
        assert_eq!(sent.expect("it opens again"), (run, run));
    }
}
