use super::*;

/// The keys of the example in the documentation of Go's package `note`, and Go's own checksum database.
const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_SUM: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

#[test]
fn known_keys_are_read_and_written() {
    for text in [NEUMANN, GO_SUM] {
        let key: VerifierKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        assert_eq!(key.name(), text.split('+').next().unwrap());
    }
}

#[test]
fn a_key_is_read_only_as_it_is_written() {
    let long = format!("{}+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "a".repeat(400));
    let cases = [
        ("", "name+id+key"),
        ("PeterNeumann", "name+id+key"),
        ("+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "empty"),
        ("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "space"),
        ("Peter\u{a0}Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "space"),
        ("PeterNewmann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "id is not that"),
        ("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "id is not that"),
        ("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "hexadecimal"),
        ("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW=", "base64"),
        ("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy", "32 bytes"),
        ("PeterNeumann+c74f20a3+BBpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "witness's"),
        ("PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "algorithm"),
        ("PeterNeumann+c74f20a3+", "algorithm"),
        (&long, "too long"),
    ];
    for (text, says) in cases {
        let error = text.parse::<VerifierKey>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let error = NEUMANN.parse::<WitnessKey>().unwrap_err().to_string();
    assert!(error.contains("log's"), "{error}");
}

#[test]
fn one_seed_and_name_make_another_key_of_each_type() {
    let seed = || Zeroizing::new([9; 32]);
    let log = Signer::from_seed("example.com/log", seed()).unwrap();
    let witness = Cosigner::from_seed("example.com/log", seed()).unwrap();
    assert_ne!(log.public().id(), witness.public().id());
    assert_eq!(witness.public().to_string().parse::<WitnessKey>().unwrap(), *witness.public());
    for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b", "a\u{0}", &"a".repeat(256)] {
        assert!(Signer::from_seed(name, seed()).is_err(), "{name:?}");
    }
}
