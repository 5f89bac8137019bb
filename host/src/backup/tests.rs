//! Archives that are not what they say, and what is secret in a site file.

use std::io::Write;
use std::path::Path;

use super::*;
use crate::store::{Store, StoreOptions};

fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path(), StoreOptions::default()).unwrap().close();
    dir
}

fn archive(data: &Path) -> (Manifest, Vec<u8>) {
    let scratch = tempfile::tempdir().unwrap();
    let gathered = gather(&Wanted {
        data,
        site: None,
        with_secrets: false,
        scratch: scratch.path(),
        archive: None,
    });
    let gathered = gathered.unwrap();
    let mut bytes = Vec::new();
    gathered.write(&mut bytes).unwrap();
    (gathered.manifest.clone(), bytes)
}

fn refused(bytes: &[u8]) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let said = check(bytes, scratch.path()).unwrap_err().to_string();
    let left = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 0, "something stays behind: {said}");
    said
}

/// An archive of this manifest and these entries; names as they are, whatever they say.
fn forged(manifest: &Manifest, entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let text = serde_json::to_vec(manifest).unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let all = [(MANIFEST, tar::EntryType::Regular, &*text)];
    for (name, kind, bytes) in all.iter().chain(entries) {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn listing(manifest: &Manifest, path: &str, bytes: &[u8]) -> Manifest {
    let mut sum = make::Sum::default();
    sum.write_all(bytes).unwrap();
    let sha256 = sum.text();
    let file =
        FileEntry { path: path.to_owned(), size: bytes.len() as u64, sha256, private: false };
    Manifest { files: vec![file], ..manifest.clone() }
}

#[test]
fn a_backup_is_restored_as_it_was_and_a_copy_is_set_apart() {
    let data = data();
    let store = Store::open(data.path(), StoreOptions::default()).unwrap();
    store.meta_put("site-name", b"hall").unwrap();
    // While it is open.
    let (_, bytes) = archive(data.path());
    for (who, is_copy) in [(Who::Same, false), (Who::Copy, true)] {
        let target = tempfile::tempdir().unwrap();
        let checked = check(&*bytes, target.path()).unwrap();
        let place = Target { data: target.path(), site: None, force: false };
        assert!(checked.put(&place, who).unwrap().is_empty());
        let restored = Store::open(target.path(), StoreOptions::default()).unwrap();
        assert_eq!(restored.meta_get("site-name").unwrap().unwrap(), b"hall");
        assert_eq!(restored.copy_mark().unwrap().is_some(), is_copy);
    }
}

#[test]
fn a_name_that_leads_out_of_its_place_is_refused_before_anything_is_written() {
    let data = data();
    let (manifest, _) = archive(data.path());
    for name in [
        "../evil",
        "/etc/evil",
        "site/../../evil",
        "data/../evil",
        "site/./evil",
        "site//evil",
        "data/evil",
        "data/accepted/a/b",
        "evil",
        "site/",
        "site\\evil",
    ] {
        let manifest = listing(&manifest, name, b"x");
        let said = refused(&forged(&manifest, &[(name, tar::EntryType::Regular, b"x")]));
        assert!(said.contains("no place of a backup"), "{name}: {said}");
        // Not listed, but there.
        let honest = listing(&manifest, "site/a", b"x");
        let said = refused(&forged(&honest, &[(name, tar::EntryType::Regular, b"x")]));
        assert!(said.contains("not in its list"), "{name}: {said}");
    }
}

#[test]
fn a_link_or_another_content_or_a_missing_file_is_refused() {
    let data = data();
    let (manifest, whole) = archive(data.path());
    let one = listing(&manifest, "site/a", b"x");
    for (kind, bytes, part) in [
        (tar::EntryType::Symlink, &b""[..], "no plain file"),
        (tar::EntryType::Link, b"", "no plain file"),
        (tar::EntryType::Directory, b"", "no plain file"),
        (tar::EntryType::Regular, b"y", "another content"),
        (tar::EntryType::Regular, b"xx", "another content"),
        (tar::EntryType::Regular, b"x", "no database"),
    ] {
        let said = refused(&forged(&one, &[("site/a", kind, bytes)]));
        assert!(said.contains(part), "{said}");
    }
    assert!(refused(&forged(&one, &[])).contains("missing"));
    assert!(refused(b"").contains("no backup"));
    assert!(refused(&b"no archive at all ".repeat(100)).contains("no backup"));
    // Cut off somewhere in the database.
    refused(&whole[..whole.len() / 2]);
    let mut later = manifest.clone();
    later.format = 99;
    assert!(refused(&forged(&later, &[])).contains("format 99"));
}

#[test]
fn secrets_of_a_site_file_are_blanked_wherever_they_stand() {
    let text = r#"format = 1
[broker.main]
url = "mqtt://b"
# password = "old-1"
password = "plain-2" # was old-3
key = "keys/client.key"
cert = "keys/client.pem"
[endpoint.odoo]
key = { file = "secrets/odoo" } # old-4
headers = { X-A = "plain-5", X-B = { env = "X_B" } }
[http]
token = """plain-6
more"""
tokens.grafana = { roles = ["read"], sha256 = "9f86" }
"#;
    let secrets = site::secrets_of(text).unwrap();
    let blanked = &secrets.blanked;
    for secret in ["old-1", "plain-2", "old-3", "old-4", "plain-5", "plain-6", "more"] {
        assert!(!blanked.contains(secret), "{secret} in {blanked}");
    }
    for kept in ["mqtt://b", "keys/client.key", "secrets/odoo", "X_B", "9f86", "[\"read\"]"] {
        assert!(blanked.contains(kept), "no {kept} in {blanked}");
    }
    toml::from_str::<toml::Table>(blanked).unwrap();
    assert!(secrets.left_out.iter().any(|left| left.what.contains("X_B")));
    assert!(site::secrets_of("password = ").is_none());
}
