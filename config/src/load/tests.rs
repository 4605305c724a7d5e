use super::*;

#[test]
fn the_examples_load() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/postern.toml");
    match load(&file) {
        Ok(config) => assert_eq!(config.modules.len(), 6),
        Err(e) => panic!("{}", e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}
