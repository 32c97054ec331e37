//! Search, and what another tenant must not find.

use std::collections::HashMap;
use std::time::Duration;

use redis_actix::commands::search::*;
use redis_actix::commands::{hashes::HSet, json::JsonSet, keys::Exists};
use redis_actix::{Json, Raw, Redis, RefusalClass, Struct, Value};
use serde::Deserialize;
use serde_json::json;

use crate::{Tenants, for_each_protocol};

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Article {
    title: String,
    year: u32,
}

fn fields() -> [Field; 4] {
    let vector = VectorIndex::flat(2, DistanceMetric::L2);
    [
        Field::text("title").weight(2.0),
        Field::numeric("year").sortable(),
        Field::tag("tag").separator(';'),
        Field::vector("at", vector),
    ]
}

/// Waits until the index has `documents`.
async fn indexed(redis: &Redis, index: &str, documents: u64) -> IndexInfo {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let info = redis.send(FtInfo::new(index)).await.unwrap();
        if info.documents == documents && !info.is_indexing {
            return info;
        }
        assert!(std::time::Instant::now() < deadline, "{info:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Both tenants have the same names; the documents of the other one contain `secret`.
async fn filled(tenants: &Tenants) {
    for (redis, word) in [(&tenants.ours, "public"), (&tenants.theirs, "secret")] {
        for (id, year) in [("a", 2020), ("b", 2024)] {
            let article = HSet::new(format!("article:{id}")).field("title", format!("{word} hello {id}"));
            let article = article.field("year", year).field("tag", format!("{word};x"));
            redis.send(article.field("at", &[0_u8; 8][..])).await.unwrap();
        }
        redis.send(FtCreate::new("i", fields()).prefix("article:")).await.unwrap();
        indexed(redis, "i", 2).await;
    }
}

fn texts(value: &Value) -> String {
    format!("{value:?}")
}

#[actix::test]
async fn documents_are_found_with_their_fields_and_the_callers_ids() {
    for_each_protocol(async |tenants| {
        filled(&tenants).await;
        let redis = &tenants.ours;
        let search =
            FtSearch::<Struct<Article>>::new("i", "hello").sort_by("year", Order::Desc).fields(["title", "year"]);
        let page = redis.send(search).await.unwrap();
        assert_eq!(page.total, 2);
        let found: Vec<_> = page.documents.iter().map(|one| (&*one.id, one.fields.clone().unwrap().0)).collect();
        let article = |id: &str, year| Article { title: format!("public hello {id}"), year };
        assert_eq!(found, [("article:b", article("b", 2024)), ("article:a", article("a", 2020))]);
        assert!(page.documents[0].score > 0.0);

        let page = redis.send(FtSearch::<HashMap<String, String>>::new("i", "@year:[2021 +inf]")).await.unwrap();
        assert_eq!(page.documents[0].fields.as_ref().unwrap()["tag"], "public;x");
        let ids = redis
            .send(FtSearch::<Value>::new("i", "@tag:{public}").sort_by("year", Order::Asc).limit(0, 1).ids())
            .await
            .unwrap();
        assert_eq!((ids.total, &*ids.documents[0].0), (2, "article:a"));
        let one =
            FtSearch::<Value>::new("i", "*").in_keys("article:b").verbatim().time_limit(Duration::from_secs(1)).ids();
        assert_eq!(redis.send(one).await.unwrap().documents[0].0, "article:b");
        let near = FtSearch::<Value>::new("i", "*=>[KNN 1 @at $point]").vector("point", &[0.0, 0.0]).ids();
        assert_eq!(redis.send(near).await.unwrap().documents.len(), 1);
        let words = FtSearch::<HashMap<String, String>>::new("i", "@title:$words").param("words", "hello");
        let words =
            words.highlight(["title"], "<b>", "</b>").in_fields(["title"]).slop(1).in_order().language("english");
        let page = redis.send(words.scorer("TFIDF")).await.unwrap();
        assert!(page.documents[0].fields.as_ref().unwrap()["title"].contains("<b>hello</b>"));
        assert_eq!(redis.send(FtSearch::<Value>::new("i", "none").ids()).await.unwrap().total, 0);
        let profiled = redis.send(FtSearch::<Value>::new("i", "hello").profile()).await.unwrap();
        assert_eq!(profiled.reply.total, 2);
        assert!(profiled.reply.documents[0].id.starts_with("article:") && profiled.profile != Value::Nil);
        tenants
    })
    .await;
}

#[actix::test]
async fn json_documents_are_found_as_a_whole() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        redis.send(JsonSet::new("j:1", "$", &json!({"title": "hello you", "year": 2020}))).await.unwrap();
        let schema = [Field::text("$.title").alias("title").sortable(), Field::numeric("$.year").alias("year")];
        redis.send(FtCreate::new("j", schema).on_json().prefix("j:")).await.unwrap();
        indexed(redis, "j", 1).await;
        let page = redis.send(FtSearch::<Value>::new("j", "hello").json::<Json<Article>>()).await.unwrap();
        let article = page.documents[0].fields.as_deref().unwrap();
        assert_eq!((&*page.documents[0].id, &*article.title), ("j:1", "hello you"));
        tenants
    })
    .await;
}

#[actix::test]
async fn rows_are_grouped_and_read_by_cursor() {
    for_each_protocol(async |tenants| {
        filled(&tenants).await;
        let redis = &tenants.ours;
        let rows = redis.send(FtAggregate::<HashMap<String, Value>>::new("i", "*").load_all()).await.unwrap().rows;
        assert_eq!(rows.len(), 2);
        let grouped = FtAggregate::<HashMap<String, String>>::new("i", "*")
            .group_by(["year"], [Reducer::count().named("n"), Reducer::max("year").named("max")])
            .apply("@n * 2", "twice")
            .filter("@twice > 1")
            .limit(0, 10)
            .sort_by([("year", Order::Asc)]);
        let rows = redis.send(grouped).await.unwrap().rows;
        assert_eq!((&*rows[0]["year"], &*rows[0]["n"], &*rows[0]["twice"]), ("2020", "1", "2"));

        let paged = || FtAggregate::<HashMap<String, String>>::new("i", "*").load_key().cursor(1, None);
        let first = redis.send(paged()).await.unwrap();
        let mut keys: Vec<String> = first.rows.iter().map(|row| row["__key"].clone()).collect();
        let mut cursor = first.cursor;
        while let Some(at) = cursor {
            let next = redis.send(FtCursorRead::<HashMap<String, String>>::new("i", at)).await.unwrap();
            keys.extend(next.rows.iter().map(|row| row["__key"].clone()));
            cursor = next.cursor;
        }
        keys.sort();
        assert_eq!(keys, ["article:a", "article:b"]);
        let cursor = redis.send(paged()).await.unwrap().cursor.unwrap();
        redis.send(FtCursorDel::new("i", cursor.clone())).await.unwrap();
        assert!(redis.send(FtCursorRead::<Value>::new("i", cursor)).await.is_err());
        let profiled = redis.send(FtAggregate::<Value>::new("i", "*").load_key().profile()).await.unwrap();
        assert_eq!(profiled.reply.rows.len(), 2);
        assert!(!profiled.reply.rows.iter().any(|row| texts(row).contains("our?s")), "{profiled:?}");
        tenants
    })
    .await;
}

/// Ablation: with prefixes in FT.CREATE that lack the key prefix FT.INFO has `prefixes: []` and `documents: 0`.
#[actix::test]
async fn indexes_aliases_and_dictionaries_belong_to_a_tenant() {
    for_each_protocol(async |tenants| {
        filled(&tenants).await;
        let redis = &tenants.ours;
        let info = indexed(redis, "i", 2).await;
        assert_eq!((&*info.name, &info.prefixes[..]), ("i", &["article:".to_owned()][..]));
        assert_eq!(info.fields[1], ("year".to_owned(), "NUMERIC".to_owned()));
        redis.send(FtAliasAdd::new("alias", "i")).await.unwrap();
        redis.send(FtAliasUpdate::new("alias", "i")).await.unwrap();
        assert_eq!(redis.send(FtSearch::<Value>::new("alias", "hello").ids()).await.unwrap().total, 2);
        assert!(tenants.theirs.send(FtSearch::<Value>::new("alias", "hello").ids()).await.is_err());
        redis.send(FtAliasDel::new("alias")).await.unwrap();
        redis.send(FtCreate::new("all", [Field::text("title")])).await.unwrap();
        assert_eq!(indexed(redis, "all", 2).await.prefixes, [""]);
        assert_eq!(redis.send(FtSearch::<Value>::new("all", "secret").ids()).await.unwrap().total, 0);
        let mut names = redis.send(FtList::new()).await.unwrap();
        names.sort();
        assert_eq!(names, ["all", "i"]);
        assert_eq!(tenants.theirs.send(FtList::new()).await.unwrap(), ["i"]);

        redis.send(FtAlter::new("i", Field::text("body").no_stem())).await.unwrap();
        let mut tags = redis.send(FtTagVals::new("i", "tag")).await.unwrap();
        tags.sort();
        assert_eq!(tags, ["public", "x"]);
        assert!(redis.send(FtExplain::new("i", "hello").dialect(2)).await.unwrap().contains("hello"));
        assert_eq!(redis.send(FtDictAdd::new("d", ["helly", "other"])).await.unwrap(), 2);
        assert!(tenants.theirs.send(FtDictDump::new("d")).await.is_err());
        let mut terms = redis.send(FtDictDump::new("d")).await.unwrap();
        terms.sort();
        assert_eq!(terms, ["helly", "other"]);
        let wrong = redis.send(FtSpellCheck::new("i", "helo").distance(1).include("d")).await.unwrap();
        assert_eq!(wrong[0].term, "helo");
        assert!(wrong[0].suggestions.iter().any(|(word, _)| word == "hello"), "{wrong:?}");
        assert_eq!(redis.send(FtDictDel::new("d", "helly")).await.unwrap(), 1);
        redis.send(FtSynUpdate::new("i", "g", ["hello", "hi"])).await.unwrap();
        assert_eq!(redis.send(FtSynDump::new("i")).await.unwrap()["hi"], ["g"]);

        assert_eq!(redis.send(FtSugAdd::new("s", "hello there", 2).payload("p")).await.unwrap(), 1);
        redis.send(FtSugAdd::new("s", "help", 1).increment()).await.unwrap();
        let found = redis.send(FtSugGet::new("s", "hel").fuzzy().max(5)).await.unwrap();
        let hello = found.iter().find(|one| one.text == "hello there").unwrap();
        assert!(found.len() == 2 && hello.payload.as_deref() == Some(b"p") && hello.score > 0.0);
        assert!(tenants.theirs.send(FtSugGet::new("s", "hel")).await.unwrap().is_empty());
        assert_eq!(redis.send(FtSugLen::new("s")).await.unwrap(), 2);
        assert!(redis.send(FtSugDel::new("s", "help")).await.unwrap());

        let error = redis.send(FtSearch::<Value>::new("none", "x").ids()).await.unwrap_err();
        assert!(!error.to_string().contains("our?s"), "{error}");
        redis.send(FtDropIndex::new("i").delete_documents()).await.unwrap();
        assert_eq!(redis.send(Exists::new(["article:a", "article:b"])).await.unwrap(), 0);
        assert_eq!(tenants.theirs.send(FtSearch::<Value>::new("i", "secret").ids()).await.unwrap().total, 2);
        tenants
    })
    .await;
}

#[actix::test]
async fn commands_of_search_built_by_hand_are_refused_with_fitting_words() {
    for_each_protocol(async |tenants| {
        filled(&tenants).await;
        let raw = Raw::<Value>::new("FT.SEARCH").key("i").arg("*");
        let error = tenants.ours.send(raw).await.unwrap_err();
        assert_eq!(error.refusal(), Some(RefusalClass::Wide));
        assert!(error.to_string().contains("redis_actix::commands::search"), "{error}");
        tenants
    })
    .await;
}
