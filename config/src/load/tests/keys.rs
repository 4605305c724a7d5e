use super::{HEAD, column, manifest, table, twins};

#[test]
fn what_sealed_values_are_bound_to() {
    let sealed = "{ name = \"s\", type = \"text\", protect = { search = [] } }";
    let keyless = "column = [{ name = \"id\", type = \"text\" },\n{ name = \"s\", type = \"text\", protect = { search = [] } }]";
    twins(
        &table(&keyless.replace("search = []", "search = [], bind = \"column\"")),
        &table(keyless),
        7,
        "no primary key to bind",
    );
    let keyed = |ty: &str| {
        table(&format!(
            "primary_key = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"{ty}\" }}, {sealed}]"
        ))
    };
    twins(&keyed("int8"), &keyed("timestamptz"), 7, "no one byte form to bind to");
    let read_by_policy = |ty: &str| {
        column(&format!("{sealed},\n{{ name = \"c\", type = \"{ty}\" }}"))
            + "[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\nusing = \"c IS NOT NULL\"\n"
    };
    twins(
        &read_by_policy("text"),
        &read_by_policy("numeric"),
        9,
        "no one byte form to bind to",
    );
    let m = manifest(&read_by_policy("text")).unwrap();
    assert_eq!(
        m.tables[0].bound.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["id", "c"]
    );
}

#[test]
fn keys_over_columns() {
    let keyed = |key: &str, rest: &str| {
        table(&format!(
            "primary_key = [{key}]\n{rest}\ncolumn = [\n{{ name = \"a\", type = \"text\" }},\n{{ name = \"b\", type = \"text\", protect = {{ search = [\"eq\"] }} }},\n{{ name = \"c\", type = \"text\", protect = {{ search = [] }} }}]"
        ))
    };
    let good = keyed("\"a\"", "unique = [[\"b\"]]");
    twins(
        &good,
        &keyed("\"aa\"", "unique = [[\"b\"]]"),
        6,
        "names `aa`, which is no column",
    );
    twins(&good, &keyed("\"a\", \"a\"", ""), 6, "twice");
    twins(&good, &keyed("\"c\"", ""), 11, "add \"eq\"");
    twins(&good, &keyed("\"a\"", "unique = [[\"c\"]]"), 11, "add \"eq\"");
    twins(&good, &keyed("\"a\"", "unique = [[\"z\"]]"), 7, "no column of acme.t");
    twins(&good, &keyed("\"a\"", "unique = [[\"a\"]]"), 7, "already a key");
    twins(&keyed("\"b\"", ""), &keyed("\"b\"", "unique = [[]]"), 7, "names no column");
    twins(
        &good,
        &good.replace("name = \"a\", type", "name = \"a\", mask_unless = \"claim.super\", type"),
        9,
        "a row needs its key",
    );
    twins(
        &good,
        &good.replace("name = \"a\", type", "name = \"a\", never = true, type"),
        9,
        "remove `never`",
    );
}

#[test]
fn foreign_keys() {
    let text = |key: &str, child_column: &str| {
        format!(
            "{HEAD}[[table]]\nname = \"p\"\nprimary_key = [\"id\"]\nunique = [[\"mail\"]]\ncolumn = [{{ name = \"id\", type = \"text\" }}, \
             {{ name = \"n\", type = \"int4\" }},\n{{ name = \"mail\", type = \"text\", protect = {{ search = [\"eq\"], join_group = \"g\" }} }}]\n\
             [[table]]\nname = \"t\"\nprimary_key = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"text\" }}, {child_column}]\n\
             foreign_key = [{{ {key} }}]\n"
        )
    };
    let plain = "{ name = \"r\", type = \"text\" }";
    let sealed = "{ name = \"r\", type = \"text\", protect = { search = [\"eq\"], join_group = \"g\" } }";
    let good = text("columns = [\"r\"], table = \"p\"", plain);
    twins(
        &good,
        &text("columns = [\"r\"], table = \"pp\"", plain),
        14,
        "declares no table `pp`; declare the table",
    );
    twins(
        &good,
        &text(
            "columns = [\"r\"], table = \"p\", references = [\"n\"]",
            "{ name = \"r\", type = \"int4\" }",
        ),
        14,
        "neither the primary key",
    );
    twins(
        &good,
        &text("columns = [\"r\"], table = \"p\"", "{ name = \"r\", type = \"int4\" }"),
        14,
        "give both one type",
    );
    twins(
        &good,
        &text("columns = [\"r\", \"id\"], table = \"p\"", plain),
        14,
        "pairs 2 column(s) with 1",
    );
    twins(&good, &text("columns = [\"r\"]", plain), 14, "lacks `table`");
    let tags = "columns = [\"r\"], table = \"p\", references = [\"mail\"]";
    twins(&text(tags, sealed), &text(tags, plain), 14, "protect both or neither");
    twins(
        &text(tags, sealed),
        &text(tags, &sealed.replace(", join_group = \"g\"", "")),
        14,
        "one `join_group`",
    );
    let own = |of: &str| {
        format!(
            "{HEAD}[[table]]\nname = \"t\"\nprimary_key = [\"id\"]\nforeign_key = [{{ columns = [\"r\"], table = \"{of}\" }}]\n\
             column = [{{ name = \"id\", type = \"text\" }}, {plain}]\n[[table]]\nname = \"later\"\nprimary_key = [\"id\"]\n\
             column = [{{ name = \"id\", type = \"text\" }}]\n"
        )
    };
    twins(&own("t"), &own("later"), 7, "declared further down");
}

#[test]
fn join_groups_share_a_type() {
    let with = |ty: &str| {
        column(&format!(
            "{{ name = \"a\", type = \"text\", protect = {{ search = [\"eq\"], join_group = \"g\" }} }},\n\
             {{ name = \"b\", type = \"{ty}\", protect = {{ search = [\"eq\"], join_group = \"g\" }} }}"
        ))
    };
    twins(&with("text"), &with("int4"), 9, "give both one type");
}

#[test]
fn partitions_stand_on_plain_columns_that_are_in_every_key() {
    let by = |by: &str, rest: &str| {
        table(&format!(
            "primary_key = [\"id\", \"at\"]\npartition_by = {{ {by} }}\n{rest}\ncolumn = [{{ name = \"id\", type = \"int4\" }}, \
             {{ name = \"at\", type = \"date\" }}, {{ name = \"s\", type = \"text\", protect = {{ search = [\"eq\"] }} }}, \
             {{ name = \"p\", type = \"text\" }}]"
        ))
    };
    let good = by("range = [\"at\"]", "");
    let parsed = manifest(&good).unwrap();
    let key = parsed.tables[0].partition_by.as_ref().unwrap();
    assert_eq!(key.strategy, crate::manifest::PartitionStrategy::Range);
    assert_eq!(key.columns.iter().map(ToString::to_string).collect::<Vec<_>>(), ["at"]);
    let line = good.lines().position(|l| l.starts_with("partition_by")).unwrap() + 1;
    for (bad, message) in [
        (by("hash = [\"s\"]", ""), "is protected"),
        (by("range = [\"p\"]", ""), "wants it in the primary key"),
        (by("range = [\"at\"]", "unique = [[\"id\"]]"), "wants it in the primary key"),
        (by("list = [\"id\", \"at\"]", ""), "`list` exactly one"),
        (by("range = []", ""), "at least one column"),
        (by("range = [\"at\"], hash = [\"id\"]", ""), "takes one of"),
        (by("range = [\"nothing\"]", ""), "no column"),
    ] {
        twins(&good, &bad, line, message);
    }
    assert!(
        manifest(&by("hash = [\"id\", \"at\"]", "unique = [[\"at\", \"id\"]]")).is_err(),
        "that key is there already"
    );
}
