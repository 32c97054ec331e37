//! Vector sets.

use redis_actix::Json;
use redis_actix::commands::vectors::*;
use serde_json::json;

use crate::for_each_protocol;

#[actix::test]
async fn elements_are_found_by_similarity_with_scores_and_attributes() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        assert!(redis.send(VAdd::new("v", "a", &[1.0, 0.0, 0.0])).await.unwrap());
        assert!(!redis.send(VAdd::values("v", "a", [1, 0, 0])).await.unwrap(), "it exists");
        let add = VAdd::new("v", "c", &[1.0, 1.0, 0.0]).attributes(&json!({"year": 1})).cas().exploration(100);
        assert!(redis.send(add).await.unwrap());
        redis.send(VAdd::new("v", "b", &[0.0, 1.0, 0.0])).await.unwrap();
        tenants.theirs.send(VAdd::new("v", "secret", &[1.0, 0.0, 0.0])).await.unwrap();

        let found = redis.send(VSim::<String>::to_vector("v", &[1.0, 0.0, 0.0])).await.unwrap();
        assert_eq!(found, ["a", "c", "b"]);
        let found = redis.send(VSim::<String>::to_element("v", "a").count(2).with_scores()).await.unwrap();
        assert_eq!((&*found[0].0, found[0].1), ("a", 1.0));
        assert!(found.len() == 2 && found[1].1 > 0.8 && found[1].1 < 0.9, "{}", found[1].1);
        let found = redis.send(VSim::<String>::to_element("v", "a").with_attributes()).await.unwrap();
        let shown: Vec<_> = found.iter().map(|one| (&*one.element, one.attributes.as_deref())).collect();
        assert_eq!(shown, [("a", None), ("c", Some(r#"{"year":1}"#)), ("b", None)]);
        let near =
            VSim::<String>::to_element("v", "a").max_distance(0.3).filter(".year == 1").filter_effort(100).exact();
        assert_eq!(redis.send(near).await.unwrap(), ["c"]);
        assert!(redis.send(VSim::<String>::to_vector("none", &[1.0])).await.unwrap().is_empty());
        tenants
    })
    .await;
}

#[actix::test]
async fn replies_of_vector_sets_are_equal_in_both_protocols() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        redis.send(VAdd::new("v", "a", &[3.0, 4.0]).quantization(Quantization::None)).await.unwrap();
        redis.send(VAdd::new("v", "b", &[4.0, 3.0]).quantization(Quantization::None)).await.unwrap();
        let vector = redis.send(VEmb::new("v", "a")).await.unwrap().unwrap();
        assert!((vector[0] - 3.0).abs() < 0.001 && (vector[1] - 4.0).abs() < 0.001, "{vector:?}");
        let raw = redis.send(VEmb::new("v", "a").raw()).await.unwrap().unwrap();
        assert_eq!((&*raw.format, raw.data.len(), raw.norm, raw.range), ("f32", 8, 5.0, None));
        assert_eq!(redis.send(VEmb::new("v", "x")).await.unwrap(), None);
        assert_eq!(redis.send(VEmb::new("v", "x").raw()).await.unwrap(), None);

        assert_eq!(redis.send(VLinks::<String>::new("v", "a")).await.unwrap().unwrap().last().unwrap(), &["b"]);
        let links = redis.send(VLinks::<String>::new("v", "a").with_scores()).await.unwrap().unwrap();
        assert!(links.last().unwrap()[0].1 > 0.9);
        assert_eq!(redis.send(VLinks::<String>::new("v", "x")).await.unwrap(), None);

        assert!(redis.send(VSetAttr::new("v", "a", &json!({"n": [1]}))).await.unwrap());
        let attributes = redis.send(VGetAttr::<Json<serde_json::Value>>::new("v", "a")).await.unwrap().unwrap();
        assert_eq!(*attributes, json!({"n": [1]}));
        let info = redis.send(VInfo::new("v")).await.unwrap().unwrap();
        let VectorSetInfo { quantization, dimensions, elements, with_attributes, reduced_from, .. } = info;
        assert_eq!((&*quantization, dimensions, elements), ("f32", 2, 2));
        assert_eq!((with_attributes, reduced_from), (Some(1), None));
        assert!(redis.send(VSetAttr::remove("v", "a")).await.unwrap());
        assert_eq!(redis.send(VGetAttr::<String>::new("v", "a")).await.unwrap(), None);
        assert!(!redis.send(VSetAttr::remove("v", "x")).await.unwrap());

        assert_eq!(redis.send(VCard::new("v")).await.unwrap(), 2);
        assert_eq!(redis.send(VCard::new("none")).await.unwrap(), 0);
        assert_eq!(redis.send(VDim::new("v")).await.unwrap(), 2);
        assert_eq!(redis.send(VInfo::new("none")).await.unwrap(), None);
        assert_eq!(redis.send(VRandMember::<String>::new("v")).await.unwrap().len(), 1);
        assert_eq!(redis.send(VRandMember::<String>::new("v").distinct(5)).await.unwrap().len(), 2);
        assert_eq!(redis.send(VRandMember::<String>::new("v").repeating(5)).await.unwrap().len(), 5);
        assert!(redis.send(VRandMember::<String>::new("none")).await.unwrap().is_empty());
        assert!(redis.send(VIsMember::new("v", "a")).await.unwrap());
        assert!(!tenants.theirs.send(VIsMember::new("v", "a")).await.unwrap());
        assert!(redis.send(VRem::new("v", "a")).await.unwrap() && !redis.send(VRem::new("v", "a")).await.unwrap());
        let reduced = VAdd::new("w", "a", &[1.0, 2.0, 3.0]).reduce(2).links(8);
        assert!(redis.send(reduced).await.unwrap());
        assert_eq!(redis.send(VInfo::new("w")).await.unwrap().unwrap().reduced_from, Some(3));
        tenants
    })
    .await;
}
