//! What is done to stored chat completions.

use store::{Listed, NewChatCompletionRecord, Owner, Resealed, SealedParts, SealedRecord, Store};
use types::{DataClass, RequestId, Sealed, TenantId, UserId};

use super::ANNA;

fn sealed(text: &str) -> Sealed {
    Sealed::from(text.as_bytes().to_vec())
}

pub(crate) fn completion(id: u128, model: &str) -> NewChatCompletionRecord {
    NewChatCompletionRecord {
        id: RequestId(id),
        tenant: ANNA.tenant,
        user: ANNA.user,
        subject_key: [1; 16],
        data_class: DataClass::Internal,
        model: model.to_owned(),
        created_at: 100,
        expires_at: 200,
        messages: sealed("messages"),
        answer: sealed("answer"),
        metadata: sealed("metadata"),
    }
}

pub(crate) async fn listed(store: &Store, listed: Listed) -> Vec<u128> {
    let found = store.chat_completions(ANNA, &listed, 150).await.unwrap();
    found.into_iter().map(|row| row.id.0).collect()
}

pub(crate) async fn completions_are_listed_by_pages(store: Store) {
    for (id, model) in [(9, "m"), (3, "n"), (u128::MAX, "m"), (0, "m")] {
        store.insert_chat_completion(completion(id, model)).await.unwrap();
    }
    let all = Listed { most: 10, ..Listed::default() };
    assert_eq!(listed(&store, all.clone()).await, [9, 3, u128::MAX, 0]);
    assert_eq!(listed(&store, Listed { newest_first: true, ..all.clone() }).await, [0, u128::MAX, 3, 9]);
    assert_eq!(listed(&store, Listed { model: Some("n".into()), ..all.clone() }).await, [3]);
    assert_eq!(listed(&store, Listed { most: 2, ..all.clone() }).await, [9, 3]);
    let third = store.chat_completion(ANNA, RequestId(u128::MAX), 150).await.unwrap().unwrap();
    assert_eq!((third.model.as_str(), third.created_at), ("m", 100));
    assert_eq!((&third.answer, &third.metadata), (&sealed("answer"), &sealed("metadata")));
    let after = Listed { after: Some(third.number), ..all.clone() };
    assert_eq!(listed(&store, after.clone()).await, [0]);
    assert_eq!(listed(&store, Listed { newest_first: true, ..after }).await, [3, 9]);
}

pub(crate) async fn only_the_owner_sees_and_changes_a_completion(store: Store) {
    store.insert_chat_completion(completion(1, "m")).await.unwrap();
    let id = RequestId(1);
    for stranger in [
        Owner { user: UserId(2), ..ANNA },
        Owner { tenant: TenantId(2), ..ANNA },
        Owner { data_class_max: DataClass::Public, ..ANNA },
    ] {
        assert_eq!(store.chat_completion(stranger, id, 150).await.unwrap(), None);
        assert_eq!(store.chat_completion_messages(stranger, id, 150).await.unwrap(), None);
        assert!(!store.update_chat_completion(stranger, id, [1; 16], sealed("x"), 150).await.unwrap());
        assert!(!store.delete_chat_completion(stranger, id, 150).await.unwrap());
        let all = Listed { most: 10, ..Listed::default() };
        assert_eq!(store.chat_completions(stranger, &all, 150).await.unwrap(), []);
    }
    assert_eq!(store.chat_completion(ANNA, id, 200).await.unwrap(), None, "it has expired");
    let update = |key, text| store.update_chat_completion(ANNA, id, key, sealed(text), 150);
    assert!(!update([2; 16], "of another key").await.unwrap());
    assert!(update([1; 16], "new").await.unwrap());
    assert_eq!(store.chat_completion(ANNA, id, 150).await.unwrap().unwrap().metadata, sealed("new"));
    assert_eq!(store.chat_completion_messages(ANNA, id, 150).await.unwrap(), Some(sealed("messages")));
    assert!(store.delete_chat_completion(ANNA, id, 150).await.unwrap());
    assert!(!store.delete_chat_completion(ANNA, id, 150).await.unwrap());
}

pub(crate) async fn completions_are_deleted_by_age_and_by_subject(store: Store) {
    for id in 0..1_200 {
        let expires_at = if id < 700 { 200 } else { 300 };
        let subject_key = [u8::from(id % 2 == 0); 16];
        let row = NewChatCompletionRecord { expires_at, subject_key, ..completion(id, "m") };
        store.insert_chat_completion(row).await.unwrap();
    }
    assert_eq!(store.shorten_chat_completions(DataClass::Internal, 300).await.unwrap(), 0);
    assert_eq!(store.shorten_chat_completions(DataClass::Public, 0).await.unwrap(), 0, "there are none");
    assert_eq!(store.delete_expired_chat_completions(199).await.unwrap(), 0);
    assert_eq!(store.delete_expired_chat_completions(200).await.unwrap(), 700);
    assert_eq!(store.delete_chat_completions_of([1; 16]).await.unwrap(), 250);
    assert_eq!(store.count_chat_completions().await.unwrap(), 250);
    // They were made at 100 and would be kept until 300.
    assert_eq!(store.shorten_chat_completions(DataClass::Internal, 150).await.unwrap(), 250);
    assert_eq!(store.delete_expired_chat_completions(249).await.unwrap(), 0);
    assert_eq!(store.delete_expired_chat_completions(250).await.unwrap(), 250);
}

pub(crate) async fn rows_are_sealed_anew_only_as_they_were(store: Store) {
    for id in 0..5 {
        let metadata = sealed(if id == 4 { "2 metadata" } else { "1 metadata" });
        let (messages, answer) = (sealed("2 messages"), sealed("2 answer"));
        let row = NewChatCompletionRecord { messages, answer, metadata, ..completion(id, "m") };
        store.insert_chat_completion(row).await.unwrap();
    }
    let otherwise = async |after| {
        let rows = store.chat_completions_beginning_otherwise(b"2 ", after, 3).await.unwrap();
        rows.into_iter().map(|row| (row.id.0, row)).collect::<Vec<_>>()
    };
    let rows = otherwise(0).await;
    assert_eq!(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2], "at most so many");
    assert_eq!(otherwise(rows[2].1.number).await.len(), 1, "and then what is behind");
    // Changed, deleted, sealed anew by somebody else meanwhile.
    assert!(store.update_chat_completion(ANNA, RequestId(0), [1; 16], sealed("1 new"), 150).await.unwrap());
    assert!(store.delete_chat_completion(ANNA, RequestId(1), 150).await.unwrap());
    let anew = |(_, before): (u128, SealedRecord)| Resealed {
        subject_key: [2; 16],
        parts: SealedParts {
            messages: sealed("2 messages"),
            answer: sealed("2 answer"),
            metadata: sealed("2 metadata"),
        },
        before,
    };
    let all: Vec<Resealed> = rows.into_iter().map(anew).collect();
    assert_eq!(store.reseal_chat_completions(all.clone()).await.unwrap(), 1);
    assert_eq!(store.reseal_chat_completions(all).await.unwrap(), 0);
    assert_eq!(store.count_chat_completions().await.unwrap(), 4, "what was deleted stays so");
    let metadata =
        async |id| store.chat_completion(ANNA, RequestId(id), 150).await.unwrap().unwrap().metadata;
    assert_eq!(
        [metadata(0).await, metadata(2).await, metadata(3).await],
        [sealed("1 new"), sealed("2 metadata"), sealed("1 metadata")]
    );
    assert_eq!(otherwise(0).await.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 3]);
    let of = async |key| store.chat_completions_sealed_with(key, 0, 9).await.unwrap();
    assert_eq!(of([2; 16]).await.iter().map(|row| row.id.0).collect::<Vec<_>>(), [2]);
    assert_eq!(of([1; 16]).await.len(), 3);
    // However many that are as they should be lie between.
    let put = |id, metadata| {
        let (messages, answer) = (sealed("2 messages"), sealed("2 answer"));
        let metadata = sealed(metadata);
        let row = NewChatCompletionRecord { messages, answer, metadata, ..completion(id, "m") };
        store.insert_chat_completion(row)
    };
    futures::future::join_all((10..2_110).map(|id| put(id, "2 metadata"))).await;
    put(9_999, "1 metadata").await.unwrap();
    assert_eq!(otherwise(5).await.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [9_999]);
}
