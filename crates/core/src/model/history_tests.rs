use proptest::prelude::*;

use super::*;

/// Built by Python's `struct`, not by the code under test; the checksum by a loop over FNV-1a's
/// definition: `struct.pack('<BBHQ4I3I4H5H', 1, 0b111011, 212, 1767323040, 1048576, 524288, 16384,
/// 800000, 120, 80, 900, 150, 30, 1000, 70, 3, 12, 1, 2, 41)`, padded with zeros to 68 bytes.
const RECORDED: &str = "1218b1ae013bd400a0355769000000000000100000000800004000000035\
                        0c0078000000500000008403000096001e00e803460003000c0001000200\
                        290000000000000000000000";

fn recorded() -> Vec<u8> {
    hex(RECORDED)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn minute() -> Minute {
    Minute {
        at: 1_767_323_040,
        ram_bytes: 64 << 30,
        swap_bytes: 32 << 30,
        swap_used_bytes: 1 << 30,
        working_set_bytes: 800_000 * 65_536,
        api_reachable: true,
        bus_problem: false,
        signal_active: true,
        rates: Some(Rates {
            pages_in: 120,
            pages_out: 80,
            system: Some(Waited { some: 150, full: 30 }),
            pods: Some(Waited { some: 1000, full: 70 }),
        }),
        verified: 900,
        drifts: 3,
        found: 12,
        grant_changed: 1,
        stepped_down: 2,
        worst_millis: 41,
        containers: 212,
        suspended_bytes: 0,
    }
}

#[test]
fn a_record_has_the_layout_that_is_documented() {
    assert_eq!(Minute::decode(&recorded()), Some(minute()));
    assert_eq!(minute().encode().to_vec(), recorded());
}

/// Like the record above, with `I` of 8192 after the `H`s.
const WITH_SUSPENDED: &str = "b2f99885013bd400a035576900000000000010000000080000400000\
                              00350c0078000000500000008403000096001e00e803460003000c000100\
                              0200290000200000000000000000";

#[test]
fn memory_of_suspended_pods_is_kept_and_not_held() {
    let minute = Minute { suspended_bytes: 8192 * 65_536, ..minute() };
    let record = hex(WITH_SUSPENDED);
    assert_eq!(Minute::decode(&record), Some(minute));
    assert_eq!(minute.encode().to_vec(), record);
    let all = Minute { swap_used_bytes: 16 << 30, suspended_bytes: 16 << 30, ..minute };
    let none = Minute { swap_used_bytes: 0, suspended_bytes: 0, ..minute };
    assert_eq!(all.held_percent(), none.held_percent());
    // Their swap may have been counted a moment earlier.
    let more = Minute { swap_used_bytes: 0, ..all };
    assert_eq!(more.held_percent(), none.held_percent());
}

#[test]
fn a_torn_record_is_none_and_its_neighbours_stay() {
    let mut file = [minute().encode(), Minute { at: 60, ..minute() }.encode()].concat();
    file.extend([0; RECORD]);
    for torn in [4, 10, 30, 71] {
        let mut file = file.clone();
        file[torn] ^= 1;
        assert_eq!(minutes(&file).iter().map(|m| m.at).collect::<Vec<_>>(), [60], "byte {torn}");
    }
    let times: Vec<u64> = minutes(&file).iter().map(|m| m.at).collect();
    assert_eq!(times, [60, minute().at], "the oldest first, empty places are none");
}

#[test]
fn two_weeks_later_a_record_takes_the_place() {
    assert_eq!(offset(0), 0);
    assert_eq!(offset(59), 0);
    assert_eq!(offset(60), 72);
    assert_eq!(offset(14 * 86_400 - 1), 20_159 * 72);
    assert_eq!(offset(14 * 86_400), 0);
    // About 1.4 MB; together with two event files of 256 KiB less than 2 MB.
    assert!(RECORDS * (RECORD as u64) + 2 * 262_144 < 2_000_000);
}

#[test]
fn a_line_that_a_power_cut_tore_is_counted_and_the_others_are_read() {
    let text = "{\"at\":5,\"event\":\"stopped\"}\n{\"at\":6,\"event\":\"le\n\
                {\"at\":7,\"event\":\"left\",\"pod\":\"vms/a\"}\n{\"at\":8,\"event\":\"unheard-of\"}\n";
    let left = HistoryEvent { at: 7, what: What::Left { pod: "vms/a".into() } };
    assert_eq!(events(text), (vec![HistoryEvent { at: 5, what: What::Stopped }, left.clone()], 2));
    assert_eq!(line(&left).unwrap(), "{\"at\":7,\"event\":\"left\",\"pod\":\"vms/a\"}\n");
}

proptest! {
    #[test]
    fn whatever_is_on_the_disk_is_read_without_a_panic(bytes: Vec<u8>, text: String) {
        minutes(&bytes);
        events(&text);
    }
}
