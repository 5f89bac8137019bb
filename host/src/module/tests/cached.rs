//! The compiled cache may be deleted, cut or tampered with at any time.

use std::fs;
use std::path::Path;

use super::*;

fn load(folder: &Path) -> Arc<Module> {
    let engine = Engine::new(Some(folder.to_owned()), EngineOptions::default()).unwrap();
    engine.load(&wasm("payload-format")).unwrap()
}

fn file(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn compiles_once_and_again_after_damage() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("compiled");
    let first = load(&folder);
    let whole = fs::read(file(&folder)).unwrap();
    assert_eq!(load(&folder).hash(), first.hash());
    assert_eq!(fs::read(file(&folder)).unwrap(), whole);

    let mut bent = whole.clone();
    *bent.last_mut().unwrap() ^= 1;
    for damaged in [&b""[..], &whole[..20], &whole[..whole.len() - 1], &bent] {
        fs::write(file(&folder), damaged).unwrap();
        assert_eq!(load(&folder).name(), "payload-format");
        // Compiling is deterministic but for addresses; what counts is that it is whole.
        assert_eq!(fs::read(file(&folder)).unwrap().len(), whole.len());
    }
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(load(&folder).name(), "payload-format");
}

#[test]
fn takes_no_file_of_another_module_for_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(Some(folder.path().to_owned()), EngineOptions::default()).unwrap();
    engine.load(&wasm("hostile-length")).unwrap();
    let other = file(folder.path());
    engine.load(&wasm("payload-format")).unwrap();
    let files = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path());
    let ours = files.into_iter().find(|path| *path != other).unwrap();
    fs::copy(&other, &ours).unwrap();
    assert_eq!(engine.load(&wasm("payload-format")).unwrap().name(), "payload-format");
}

#[test]
fn keeps_a_bounded_number_of_files() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..70 {
        let leftover = fs::File::create(folder.path().join(format!("{number}.compiled"))).unwrap();
        leftover.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    load(folder.path());
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap()).collect();
    assert_eq!(files.len(), 64);
    assert!(files.iter().any(|file| file.metadata().unwrap().len() > 0));
}

#[cfg(unix)]
#[test]
fn is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    load(folder.path());
    let mode = fs::metadata(file(folder.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn loads_where_nothing_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    assert_eq!(load(&blocked).name(), "payload-format");
}
