//! Which virtual host answers.

use proptest::prelude::*;

use super::{host, listener, table};
use crate::{CompileError, NoMatch, Path, RouteTable};

fn answers(table: &RouteTable, authority: &str) -> Option<String> {
    table.virtual_host(authority.as_bytes()).map(|host| host.name.to_string())
}

#[test]
fn the_most_specific_domain_decides() {
    let table = table(vec![
        host("any", &["*"], vec![]),
        host("prefix", &["www.*"], vec![]),
        host("longer-prefix", &["www.example.*"], vec![]),
        host("suffix", &["*.com"], vec![]),
        host("longer-suffix", &["*.example.com"], vec![]),
        host("exact", &["www.example.com", "10.0.0.1", "[::1]"], vec![]),
    ]);
    for (authority, name) in [
        ("www.example.com", "exact"),
        ("WWW.Example.COM:8080", "exact"),
        ("www.example.com:", "exact"),
        ("10.0.0.1:80", "exact"),
        ("[::1]:80", "exact"),
        ("[::1]", "exact"),
        ("a.example.com", "longer-suffix"),
        ("a.b.example.com", "longer-suffix"),
        (".example.com", "suffix"),
        ("example.com", "suffix"),
        ("www.example.org", "longer-prefix"),
        ("www.example.", "prefix"),
        ("www.org", "prefix"),
        ("www.", "any"),
        ("elsewhere", "any"),
        ("www.example.com.", "longer-prefix"),
        ("", "any"),
        (":80", "any"),
        ("www.example.com:x", "longer-prefix"),
    ] {
        assert_eq!(answers(&table, authority).as_deref(), Some(name), "{authority}");
    }
}

#[test]
fn without_a_star_some_hosts_have_no_answer() {
    let table = table(vec![host("one", &["a.example"], vec![])]);
    let head = super::get("b.example", "/");
    assert_eq!(table.find(&head, &Path::of(&head)).err(), Some(NoMatch::NoVirtualHost));
    let head = super::get("a.example", "/");
    assert_eq!(table.find(&head, &Path::of(&head)).err(), Some(NoMatch::NoRoute));
}

#[test]
fn names_at_the_limit_and_beyond() {
    let table = table(vec![host("any", &["*"], vec![]), host("suffix", &["*.a"], vec![])]);
    for (len, name) in [(255, "suffix"), (256, "any"), (60_000, "any")] {
        let authority = format!("{}.a", "x".repeat(len - 2));
        assert_eq!(answers(&table, &authority).as_deref(), Some(name), "{len}");
    }
}

#[test]
fn a_domain_belongs_to_one_host() {
    let error = RouteTable::compile(&listener(vec![
        host("one", &["a.example", "*.b"], vec![]),
        host("two", &["*.b"], vec![]),
    ]));
    let expected =
        CompileError::DuplicateDomain { virtual_host: "two".into(), domain: "*.b".into() };
    assert_eq!(error.err(), Some(expected));
}

/// The cost of a look-up must not grow with the number of hosts: every one is found by hash.
#[test]
fn ten_thousand_hosts() {
    let names: Vec<_> = (0..10_000).map(|number| format!("host-{number}.example")).collect();
    let table = table(names.iter().map(|name| host(name, &[name], vec![])).collect());
    for name in &names {
        assert_eq!(answers(&table, name).as_ref(), Some(name));
    }
    assert_eq!(answers(&table, "host-10000.example"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn agrees_with_comparing_each(
        domains in prop::collection::btree_set("(\\*\\.|)[ab.]{1,5}(\\.\\*|)|\\*", 1..20),
        authorities in prop::collection::vec("[abAB.]{0,7}(:[0-9]{0,2}|)", 1..20),
    ) {
        // One kind of wildcard per pattern, as configuration allows.
        let domains: Vec<_> = domains
            .iter()
            .filter(|text| text.len() == 1 || !(text.starts_with('*') && text.ends_with('*')))
            .collect();
        let hosts = domains.iter().map(|domain| host(domain, &[domain], vec![])).collect();
        let table = table(hosts);
        for authority in authorities {
            let naive = table.host_by_definition(authority.as_bytes());
            let naive = naive.map(|(host, _)| host.name.to_string());
            prop_assert_eq!(answers(&table, &authority), naive, "{}", authority);
        }
    }
}
