use super::*;

#[test]
fn whatever_comes_every_end_finds_a_page() {
    // All orders of begins of all sizes and ends, from all little rooms, walked by a simple generator of numbers.
    let mut state = 1_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..20_000 {
        let mut spares = round % 3;
        let mut left = 6 + next(40);
        let mut open = 0;
        for _ in 0..200 {
            let room = Room { left, spare: spares * 12 };
            if room.is_segment_done() {
                if spares == 0 {
                    assert_eq!(open, 0);
                    break;
                }
                (spares, left) = (spares - 1, 12 + LEFT_MAX);
                continue;
            }
            if open > 0 && next(2) == 0 {
                // Some ends in one group, on at most a page each.
                let ends = 1 + next(open.min(left));
                left -= 1 + next(ends);
                open -= ends;
            } else {
                let pages = 1 + next(RECORD_PAGES_MAX);
                if room.verdict(pages, open as usize + 1) == Verdict::Take {
                    (left, open) = (left - pages, open + 1);
                }
            }
            assert!(left.saturating_sub(LEFT_MAX) + spares * 12 >= open, "round {round}");
        }
    }
}

#[test]
fn as_many_are_open_as_can_be_followed() {
    let room = Room { left: 100, spare: 1_000_000 };
    assert_eq!(room.verdict(1, OPEN_MAX), Verdict::Take);
    assert_eq!(room.verdict(1, OPEN_MAX + 1), Verdict::TooManyOpen);
    assert_eq!(room.verdict(101, 1), Verdict::NoRoom);
}
