use super::*;

/// By Python's `hmac`: the forms are those that the documentation of the module gives, byte for byte.
#[test]
fn commitments_are_those_of_another_program() {
    let salt = PersonSecret::new([7; 32]).salt(1);
    assert_eq!(salt.to_string(), "72bfa900304bea4507a8669491954b545f2721da4fcf940b26c39ccb756b55d3");
    let begin = |form| Committing::new(&salt, form);
    let chat = begin(Form::Chat).message("system", "Be brief.").message("user", "Größe?");
    for (committing, expected) in [
        (chat, "91f3dcfd889a1803d0624da30744ccf1832e3181fd79463e7384e4366924235a"),
        (
            begin(Form::Text).piece("hello"),
            "0f6dbfb8ce74a01d498b68ef196a70dcefc5a47b5ce8ff0b5888ebfd0032960c",
        ),
        (
            begin(Form::Tokens).token(1).token(70_000),
            "14bb9f7fe7723e40736640d5c810d8c426991ee4541f3e92dfd5d8c52b7768a9",
        ),
        (
            begin(Form::Answer).piece("Paris."),
            "1c356c1a07310f97c20701a68488d7ab8297bc9e3990828ace2aa23ed3f1e29b",
        ),
    ] {
        assert_eq!(committing.finish().to_string(), expected);
    }
}

#[test]
fn nothing_else_has_the_same_commitment() {
    let secret = PersonSecret::new([7; 32]);
    let of = |request: u128, messages: &[(&str, &str)]| {
        let begun = Committing::new(&secret.salt(request), Form::Chat);
        messages.iter().fold(begun, |so_far, (role, text)| so_far.message(role, text)).finish()
    };
    let conversations: [&[(&str, &str)]; 8] = [
        &[],
        &[("user", "")],
        &[("user", "hello")],
        &[("userhello", "")],
        &[("system", "hello")],
        &[("user", "hell"), ("user", "o")],
        &[("user", "hello"), ("user", "")],
        &[("user", "hello ")],
    ];
    let mut all: Vec<_> = conversations.iter().map(|messages| of(1, messages).to_string()).collect();
    all.push(of(2, conversations[2]).to_string());
    all.push(Committing::new(&secret.salt(1), Form::Text).finish().to_string());
    all.push(Committing::new(&secret.salt(1), Form::Answer).finish().to_string());
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn what_was_written_is_read_and_all_else_is_refused() {
    let secret = PersonSecret::new([9; 32]);
    let salt = secret.salt(3);
    assert!(PersonSecret::from_hex(&secret.to_hex()).unwrap().salt(3) == salt);
    assert!(salt.to_string().parse::<Salt>().unwrap() == salt);
    let digits = salt.to_string();
    for text in
        ["", "00", &digits[1..], &format!("{digits}0"), &digits.to_uppercase(), &digits.replace('7', "ü")]
    {
        assert!(text.parse::<Salt>().is_err() && text.parse::<Commitment>().is_err(), "{text}");
    }
}
