//! JSON documents.

use redis_actix::Json;
use redis_actix::commands::json::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::for_each_protocol;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    visits: u32,
    tags: Vec<String>,
}

#[actix::test]
async fn a_document_is_updated_by_path() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        let ada = User { name: "ada".into(), visits: 0, tags: vec!["a".into()] };
        assert!(redis.send(JsonSet::new("u", "$", &ada).if_absent()).await.unwrap());
        assert!(!redis.send(JsonSet::new("u", "$", &ada).if_absent()).await.unwrap());
        assert!(!redis.send(JsonSet::new("none", "$", &ada).if_present()).await.unwrap());
        assert_eq!(redis.send(JsonNumIncrBy::<u32>::new("u", "$.visits", 2)).await.unwrap(), [Some(2)]);
        assert_eq!(redis.send(JsonNumMultBy::<f64>::new("u", "$.*", 1.5)).await.unwrap(), [None, Some(3.0), None]);
        redis.send(JsonSet::new("u", "$.visits", &3)).await.unwrap();
        assert_eq!(redis.send(JsonStrAppend::new("u", "$.name", "\"!")).await.unwrap(), [Some(5)]);
        assert_eq!(redis.send(JsonArrAppend::new("u", "$.tags", ["b", "c"])).await.unwrap(), [Some(3)]);
        let user = redis.send(JsonGet::<Json<User>>::new("u")).await.unwrap().unwrap().into_inner();
        let expected = User { name: "ada\"!".into(), visits: 3, tags: vec!["a".into(), "b".into(), "c".into()] };
        assert_eq!(user, expected);
        let names = redis.send(JsonGet::<Json<Vec<String>>>::new("u").path("$.name")).await.unwrap().unwrap();
        assert_eq!(*names, ["ada\"!"]);
        let both = JsonGet::<Json<serde_json::Value>>::new("u").path("$.visits").path("$.none");
        assert_eq!(*redis.send(both).await.unwrap().unwrap(), json!({"$.visits": [3], "$.none": []}));
        let pretty = redis.send(JsonGet::<String>::new("u").format(" ", "\n", " ").path("$.visits")).await.unwrap();
        assert_eq!(pretty.as_deref(), Some("[\n 3\n]"));
        assert_eq!(redis.send(JsonGet::<String>::new("none")).await.unwrap(), None);
        assert_eq!(tenants.theirs.send(JsonGet::<String>::new("u")).await.unwrap(), None);

        redis.send(JsonMerge::new("u", "$", &json!({"visits": null, "age": 36}))).await.unwrap();
        redis.send(JsonMSet::new([("x", "$", 1), ("y", "$", 2)])).await.unwrap();
        let read = redis.send(JsonMGet::<Json<Vec<u32>>>::new(["x", "none", "u"], "$.age")).await.unwrap();
        let read: Vec<_> = read.into_iter().map(|one| one.map(Json::into_inner)).collect();
        assert_eq!(read, [Some(vec![]), None, Some(vec![36])]);
        assert_eq!(redis.send(JsonDel::new("u", "$.age")).await.unwrap(), 1);
        assert_eq!(redis.send(JsonDel::new("none", "$")).await.unwrap(), 0);
        tenants
    })
    .await;
}

#[actix::test]
async fn replies_of_documents_are_equal_in_both_protocols() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        let document = json!({"n": 1, "f": 1.5, "a": [1, "x", 2], "s": "hi", "t": true, "o": {"k": 1, "z": null}});
        redis.send(JsonSet::new("d", "$", &document)).await.unwrap();
        let types = redis.send(JsonType::new("d", "$.*")).await.unwrap();
        let mut sorted = types.clone();
        sorted.sort();
        assert_eq!(sorted, ["array", "boolean", "integer", "number", "object", "string"]);
        assert!(redis.send(JsonType::new("d", "$.none")).await.unwrap().is_empty());
        assert!(redis.send(JsonType::new("none", "$")).await.unwrap().is_empty());

        assert_eq!(redis.send(JsonArrLen::new("d", "$.a")).await.unwrap(), [Some(3)]);
        assert_eq!(redis.send(JsonArrLen::new("d", "$.s")).await.unwrap(), [None]);
        assert_eq!(redis.send(JsonArrIndex::new("d", "$.a", "x")).await.unwrap(), [Some(1)]);
        assert_eq!(redis.send(JsonArrIndex::new("d", "$.a", &2).between(0, 2)).await.unwrap(), [Some(-1)]);
        assert_eq!(redis.send(JsonArrInsert::new("d", "$.a", 0, [9])).await.unwrap(), [Some(4)]);
        let popped = redis.send(JsonArrPop::<Json<i64>>::new("d", "$.a").at(0)).await.unwrap();
        assert_eq!(popped[0].as_deref(), Some(&9));
        let popped = redis.send(JsonArrPop::<Json<i64>>::new("d", "$.a")).await.unwrap();
        assert_eq!(popped[0].as_deref(), Some(&2));
        assert_eq!(redis.send(JsonArrTrim::new("d", "$.a", 0, 0)).await.unwrap(), [Some(1)]);

        let keys = redis.send(JsonObjKeys::new("d", "$.o")).await.unwrap();
        assert_eq!(keys, [Some(vec!["k".to_owned(), "z".to_owned()])]);
        assert_eq!(redis.send(JsonObjLen::new("d", "$.o")).await.unwrap(), [Some(2)]);
        assert_eq!(redis.send(JsonStrLen::new("d", "$.s")).await.unwrap(), [Some(2)]);
        assert_eq!(redis.send(JsonToggle::new("d", "$.t")).await.unwrap(), [Some(false)]);
        assert_eq!(redis.send(JsonClear::new("d", "$.a")).await.unwrap(), 1);
        assert_eq!(redis.send(JsonNumIncrBy::<f64>::new("d", "$.f", 0.25)).await.unwrap(), [Some(1.75)]);
        assert_eq!(redis.send(JsonNumIncrBy::<i64>::new("d", "$.s", 1)).await.unwrap(), [None]);
        assert!(redis.send(JsonMemory::new("d", "$")).await.unwrap()[0] > 0);
        assert_eq!(redis.send(JsonResp::new("d", "$.n")).await.unwrap(), [redis_actix::Value::Int(1)]);
        tenants
    })
    .await;
}

/// A path that does not exist, and a reply of another type.
#[actix::test]
async fn errors_of_documents_have_words() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        redis.send(JsonSet::new("d", "$", &json!({"s": "hi"}))).await.unwrap();
        assert!(!redis.send(JsonSet::new("d", "$.a.b", &1)).await.unwrap(), "no parent");
        let error = redis.send(JsonArrLen::new("none", "$.a")).await.unwrap_err();
        assert!(error.to_string().contains("doesn't exist"), "{error}");
        let error = redis.send(JsonGet::<Json<User>>::new("d")).await.unwrap_err();
        assert_eq!(error.kind(), redis_actix::ErrorKind::Decode);
        assert!(error.to_string().contains("not of the requested type"), "{error}");
        tenants
    })
    .await;
}
