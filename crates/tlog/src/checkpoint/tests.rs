use zeroize::Zeroizing;

use super::*;

/// The example of the specification.
const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

#[test]
fn the_example_of_the_specification_is_read_and_written() {
    let checkpoint = Checkpoint::parse(EXAMPLE).unwrap();
    assert_eq!(checkpoint.origin(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size(), 20_852_163);
    assert_eq!(checkpoint.to_string(), EXAMPLE);
    let extended = checkpoint.with_extension("more").unwrap().with_extension(" and more").unwrap();
    assert_eq!(extended.to_string(), format!("{EXAMPLE}more\n and more\n"));
    assert_eq!(Checkpoint::parse(&extended.to_string()).unwrap(), extended);
    assert_eq!(extended.extensions(), ["more", " and more"]);
}

#[test]
fn a_checkpoint_is_read_only_as_it_is_written() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let bad = [
        String::new(),
        "a\n".to_owned(),
        format!("a\n1\n{root}"),
        format!("\n1\n{root}\n"),
        format!("a\n\n{root}\n"),
        format!("a\n01\n{root}\n"),
        format!("a\n+1\n{root}\n"),
        format!("a\n1 \n{root}\n"),
        format!("a\n9223372036854775808\n{root}\n"),
        format!("a\n99999999999999999999\n{root}\n"),
        format!("a\n1\n{root}\n\n"),
        format!("a\n1\n{root}\n\nb\n"),
        format!("a\n1\n{}\n", &root[..43]),
        format!("a\n1\n{root}=\n"),
        format!("a b\n1\n{root}\n"),
        format!("a+b\n1\n{root}\n"),
    ];
    for text in bad {
        assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
    }
    let checkpoint = Checkpoint::parse(EXAMPLE).unwrap();
    for line in ["", "a\nb", "a\u{1b}"] {
        assert!(checkpoint.clone().with_extension(line).is_err());
    }
}

#[test]
fn a_key_speaks_for_its_own_log_only() {
    let signer = |name| Signer::from_seed(name, Zeroizing::new([1; 32])).unwrap();
    let (one, other) = (signer("one"), signer("other"));
    let checkpoint = Checkpoint::new("one", 3, Hash::empty()).unwrap();
    let note = checkpoint.sign(&one).unwrap();
    assert_eq!(Checkpoint::open(note.as_bytes(), one.public()).unwrap(), checkpoint);
    assert!(checkpoint.sign(&other).is_err());
    let signed_by_other = note::sign(&checkpoint.to_string(), &[&other]).unwrap();
    assert!(matches!(
        Checkpoint::open(signed_by_other.as_bytes(), other.public()),
        Err(NoteError::OtherOrigin { .. })
    ));
    assert!(matches!(Checkpoint::open(note.as_bytes(), other.public()), Err(NoteError::NotSigned { .. })));
}
