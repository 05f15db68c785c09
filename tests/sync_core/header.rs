//! A feed in the original system's form that gets a header.

use aspen_dns::sync::status::SyncStatus;

use crate::Test;

impl Test {
    /// Lists a replica with zones in the original system's form.
    fn plain_zones(&mut self, apexes: &[&str]) {
        for apex in apexes {
            let metadata = r#"{"serial":1,"last_modified_ms":0,"description":null}"#;
            let zone = format!(
                r#"{{"name":"{apex}","enabled":true,"default_ttl":60,"metadata":{metadata}}}"#
            );
            self.entry(format!("dns:_zone:{apex}").as_bytes(), zone.as_bytes());
        }
        self.core.handle_scan_complete(self.now_ms);
    }
}

#[test]
fn a_step_of_before_the_header_says_nothing_of_the_authors_revisions() {
    let mut test = Test::new();
    test.plain_zones(&["example"]);
    let step = test.core.poll_batch(0).expect("a zone").remove(0);
    test.header();
    test.zone(5, vec![]);
    test.beat(5);
    assert_eq!(test.publish(), [], "the zone is being built");
    test.core.handle_applied(&step.apex, step.revision, 0);
    assert_eq!(test.publish(), [(5, "rebuild 1".to_owned())]);
    assert_eq!(test.core.status(), SyncStatus::Synced);
}

#[test]
fn zones_of_before_the_header_go_once_the_feed_is_known_to_have_none_such() {
    let mut test = Test::new();
    test.plain_zones(&["example", "old.test"]);
    let built = "rebuild 0".to_owned();
    assert_eq!(test.publish(), [(1, built.clone()), (1, built)]);
    test.header();
    test.zone(5, vec![]);
    assert_eq!(test.publish(), [(5, "rebuild 1".to_owned())], "more may come");
    test.beat(5);
    assert_eq!(test.core.status(), SyncStatus::Syncing, "a zone too many is served");
    assert!(!test.core.has_nothing_to_give());
    assert_eq!(test.publish(), [(2, "remove".to_owned())]);
    assert_eq!(test.core.status(), SyncStatus::Synced);
    assert_eq!((test.core.stats().zones, test.publish()), (1, vec![]));
}
