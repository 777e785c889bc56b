use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::*;

const ISSUER: &str = "https://provider.test";
const CLIENT: &str = "llmos";

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn key(&self) -> DecodingKey {
        let point = self.0.public_key().as_ref();
        let (x, y) = (BASE64URL_NOPAD.encode(&point[1..33]), BASE64URL_NOPAD.encode(&point[33..]));
        DecodingKey::from_ec_components(&x, &y).unwrap()
    }

    fn mint(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

fn now() -> u64 {
    crate::provider::now_s()
}

fn with(mut base: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(base.as_object_mut().unwrap().remove(name)),
            value => base[name] = value.clone(),
        }
    }
    base
}

/// Two sets of changes: what is null in them is still to be removed.
fn and(mut changes: Value, more: Value) -> Value {
    changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    changes
}

fn good() -> Value {
    json!({
        "iss": ISSUER, "sub": "ann", "aud": CLIENT, "nonce": "n", "iat": now(), "exp": now() + 60, "jti": "1",
        "groups": ["doctors"],
    })
}

#[test]
fn headers_that_lead_somewhere_or_prove_nothing_are_refused() {
    let signer = Signer::new();
    let read = |header: Value| head(&signer.mint(&with(json!({ "alg": "ES256" }), header), &good())).is_ok();
    assert!(read(json!({})) && read(json!({ "kid": "a-1_b.c~=", "typ": "at+jwt" })));
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "nonsense" }),
        json!({ "alg": null }),
        json!({ "jku": "https://evil.test/keys" }),
        json!({ "x5u": "https://evil.test/certificate" }),
        json!({ "x5c": ["AAAA"] }),
        json!({ "jwk": { "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA" } }),
        json!({ "crit": ["exp"] }),
        json!({ "zip": "DEF" }),
        json!({ "kid": "../../dev/null" }),
        json!({ "kid": "' OR 1=1 --" }),
        json!({ "kid": "k".repeat(KID_BYTES_MAX + 1) }),
        json!({ "kid": "" }),
        json!({ "kid": 7 }),
    ] {
        assert!(!read(header.clone()), "{header}");
    }
    let long = signer.mint(&json!({ "alg": "ES256" }), &json!({ "x": "x".repeat(TOKEN_BYTES_MAX) }));
    assert!(head(&long).is_err() && head("").is_err() && head("a.b.c").is_err() && head("..").is_err());
}

/// RFC 7518, section 3.3: at least 2048 bits. `rsa.json` has tokens that are valid but for the length of the key.
#[test]
fn rsa_keys_of_providers_have_2048_bits_or_more() {
    let signed: Vec<Value> = serde_json::from_str(include_str!("rsa.json")).unwrap();
    for one in signed {
        let text = |name: &str| one[name].as_str().unwrap();
        let key = DecodingKey::from_rsa_components(text("n"), "AQAB").unwrap();
        let head = head(text("token")).unwrap();
        let is_read = super::claims(text("token"), &head, &key, ISSUER, true).is_ok();
        assert_eq!(is_read, one["bits"].as_u64().unwrap() >= 2048, "{}", one["bits"]);
    }
}

/// What the three kinds of tokens say to the same claims.
#[test]
fn each_kind_of_token_is_taken_for_what_it_is_only() {
    let signer = Signer::new();
    let read = |header: &Value, claims: &Value| {
        let token = signer.mint(header, claims);
        let head = head(&token).ok()?;
        let expires = claims.get("events").is_none();
        let claims = super::claims(&token, &head, &signer.key(), ISSUER, expires).ok()?;
        Some((head, claims))
    };
    let kinds = ["at+jwt".to_owned()];
    let verdicts = |header: Value, changes: Value| {
        let header = with(json!({ "alg": "ES256" }), header);
        let Some((head, claims)) = read(&header, &with(good(), changes)) else { return [false; 3] };
        let expected = Expected { client: CLIENT, nonce: "n" };
        [
            identity(&claims, &expected).is_ok(),
            access(&claims, &head, &kinds, "https://llm.test").is_ok(),
            logout(&claims, CLIENT, now()).is_ok(),
        ]
    };
    let (id, at, out, none) = ([true, false, false], [false, true, false], [false, false, true], [false; 3]);
    let events = json!({ LOGOUT_EVENT: {} });
    let jwt = json!({});
    let access_jwt = json!({ "typ": "at+jwt" });
    let logged_out = json!({ "aud": CLIENT, "nonce": null, "events": events });
    let access_claims = json!({ "aud": "https://llm.test", "nonce": null });
    let cases = [
        (&jwt, json!({}), id),
        (&jwt, json!({ "aud": [CLIENT] }), id),
        (&jwt, json!({ "aud": [CLIENT, "other"], "azp": CLIENT }), id),
        (&jwt, json!({ "aud": [CLIENT, "other"] }), none),
        (&jwt, json!({ "azp": "other" }), none),
        (&jwt, json!({ "aud": "other" }), none),
        (&jwt, json!({ "aud": null }), none),
        (&jwt, json!({ "nonce": "m" }), none),
        (&jwt, json!({ "nonce": null }), none),
        (&jwt, json!({ "iss": "https://evil.test" }), none),
        (&jwt, json!({ "iss": format!("{ISSUER}/") }), none),
        (&jwt, json!({ "exp": now() - 61 }), none),
        (&jwt, json!({ "exp": null }), none),
        (&jwt, json!({ "exp": "soon" }), none),
        (&jwt, json!({ "nbf": now() + 120 }), none),
        (&jwt, json!({ "iat": null }), none),
        (&access_jwt, access_claims.clone(), at),
        (&json!({ "typ": "application/AT+JWT" }), access_claims.clone(), at),
        (&jwt, access_claims.clone(), none),
        (&json!({ "typ": "JWT" }), access_claims.clone(), none),
        (&access_jwt, and(access_claims, json!({ "aud": "https://other.test" })), none),
        (&jwt, logged_out.clone(), out),
        (&jwt, and(logged_out.clone(), json!({ "exp": null })), out),
        (&jwt, and(logged_out.clone(), json!({ "nonce": "n" })), id),
        (&jwt, and(logged_out.clone(), json!({ "events": {} })), none),
        (&jwt, and(logged_out.clone(), json!({ "events": null })), none),
        (&jwt, and(logged_out.clone(), json!({ "jti": null })), none),
        (&jwt, and(logged_out.clone(), json!({ "sub": null })), none),
        (&jwt, and(logged_out.clone(), json!({ "sub": null, "sid": "s" })), out),
        (&jwt, and(logged_out.clone(), json!({ "iat": now() - 400 })), none),
        (&jwt, and(logged_out, json!({ "aud": "other" })), none),
    ];
    for (header, changes, expected) in cases {
        assert_eq!(verdicts(header.clone(), changes.clone()), expected, "{header} {changes}");
    }

    // Somebody else's signature, and one bit.
    let token = Signer::new().mint(&json!({ "alg": "ES256" }), &good());
    assert!(claims(&token, &head(&token).unwrap(), &signer.key(), ISSUER, true).is_err());
    let mut bytes = signer.mint(&json!({ "alg": "ES256" }), &good()).into_bytes();
    let middle = bytes.len() / 2;
    bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
    let token = String::from_utf8(bytes).unwrap();
    assert!(claims(&token, &head(&token).unwrap(), &signer.key(), ISSUER, true).is_err());
}

#[test]
fn groups_are_a_short_list_of_names() {
    let names = |claim: Value| groups(Some(&claim)).ok().flatten();
    let owned = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
    assert_eq!(names(json!(["a", "b"])), owned(&["a", "b"]));
    assert_eq!(names(json!("a")), owned(&["a"]));
    assert_eq!(groups(None).unwrap(), None);
    for claim in [
        json!(vec!["g"; GROUPS_MAX + 1]),
        json!([["nested"]]),
        json!({ "admin": true }),
        json!(["a", 7]),
        json!([""]),
        json!("g".repeat(GROUP_BYTES_MAX + 1)),
        json!(true),
    ] {
        assert!(groups(Some(&claim)).is_err(), "{claim:.60}");
    }
}
