use super::*;

#[test]
fn entries_come_out_as_they_went_in() {
    let long = vec![7; ENTRY_BYTES_MAX];
    let entries: [&[u8]; 4] = [b"", b"a", &long, b"\0\n\xff"];
    let mut bundle = Vec::new();
    for entry in entries {
        push(&mut bundle, entry).unwrap();
    }
    assert_eq!(parse(&bundle, 4).unwrap(), entries);
    assert_eq!(parse(&[], 0).unwrap(), Vec::<&[u8]>::new());
    let error = push(&mut bundle, &vec![0; ENTRY_BYTES_MAX + 1]).unwrap_err().to_string();
    assert!(error.contains("65536") && error.contains("65535"), "{error}");
}

#[test]
fn a_bundle_has_exactly_its_entries() {
    let cases: [(&[u8], usize, &str); 7] = [
        (&[0, 1, 7], 2, "after 1 entries"),
        (&[0, 1, 7, 0, 0], 1, "goes on"),
        (&[0, 1, 7, 0], 1, "within the length"),
        (&[0, 1, 7, 0], 2, "within the length"),
        (&[0, 2, 7], 1, "would have 2 bytes"),
        (&[255, 255], 1, "would have 65535 bytes"),
        (&[], 1, "after 0 entries"),
    ];
    for (bundle, width, says) in cases {
        let error = parse(bundle, width).unwrap_err().to_string();
        assert!(error.contains(says), "{bundle:?}: {error}");
    }
}
