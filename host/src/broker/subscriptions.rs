//! What is wanted of the broker against what it has granted.
//!
//! Pure bookkeeping: `receive` sends what [`Subscriptions::plan`] says and reports the answers.
//! Invariant: after every answer, each wanted filter is granted, refused with a reason, or
//! asked for; nothing is asked for twice.

use std::collections::{BTreeMap, BTreeSet};

use super::status::SubscriptionStatus;
use super::wire::Refusal;
use super::{RetainHandling, Subscription};

/// Filters in one SUBSCRIBE or UNSUBSCRIBE: small enough for any broker's packet limit.
pub(super) const CHUNK: usize = 50;

/// The desired set and how far the broker is from it.
#[derive(Default)]
pub(super) struct Subscriptions {
    wanted: BTreeMap<String, Subscription>,
    have: BTreeMap<String, Have>,
}

#[derive(Clone, Copy, PartialEq)]
enum Have {
    /// Left over in a resumed session; with which options is not known.
    LeftOver,
    Asked(Subscription),
    Granted(Subscription, u8),
    Refused(Subscription, Refusal),
    /// Refused, and to be asked for once more.
    Doubted(Subscription, Refusal),
    /// Refused, and asked for once more. Until the answer is there it counts as refused.
    AskedAgain(Subscription, Refusal),
    Leaving,
}

/// What an answer of the broker changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum News {
    /// Refused, and it was not known before.
    Refused(Refusal),
    /// Granted after it was refused.
    GrantedAtLast,
}

/// What to send.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub subscribe: Vec<(String, Subscription)>,
    pub unsubscribe: Vec<String>,
}

impl Subscriptions {
    /// Replaces the desired set.
    pub(super) fn want(&mut self, wanted: BTreeMap<String, Subscription>) {
        self.wanted = wanted;
    }

    /// A connection began. `kept`: the filters that the broker's session may still have, `None`
    /// where it has no session and so no subscription.
    pub(super) fn connected(&mut self, kept: Option<&BTreeSet<String>>) {
        let Some(kept) = kept else {
            self.have.clear();
            return;
        };
        // An answer that was owed by the connection before will not come.
        self.have.retain(|_, have| matches!(have, Have::Granted(..)));
        for filter in kept {
            self.have.entry(filter.clone()).or_insert(Have::LeftOver);
        }
    }

    /// What the broker does not have as it is wanted; counts as asked from now on.
    pub(super) fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        for filter in self.have.keys() {
            if !self.wanted.contains_key(filter) {
                plan.unsubscribe.push(filter.clone());
            }
        }
        plan.unsubscribe.retain(|filter| match self.have.get(filter) {
            // Nothing to give up.
            Some(Have::Refused(..) | Have::Doubted(..)) => {
                self.have.remove(filter);
                false
            }
            Some(Have::Leaving) | None => false,
            Some(_) => true,
        });
        for filter in &plan.unsubscribe {
            self.have.insert(filter.clone(), Have::Leaving);
        }
        for (filter, how) in &self.wanted {
            let as_wanted = match self.have.get(filter) {
                Some(
                    Have::Asked(with)
                    | Have::Granted(with, _)
                    | Have::Refused(with, _)
                    | Have::AskedAgain(with, _),
                ) => with == how,
                Some(Have::LeftOver | Have::Doubted(..) | Have::Leaving) | None => false,
            };
            if !as_wanted {
                let asked = match self.have.get(filter) {
                    Some(Have::Doubted(_, refusal)) => Have::AskedAgain(*how, *refusal),
                    _ => Have::Asked(*how),
                };
                self.have.insert(filter.clone(), asked);
                plan.subscribe.push((filter.clone(), *how));
            }
        }
        plan
    }

    /// The broker's answer for one filter.
    pub(super) fn answered(
        &mut self,
        filter: &str,
        how: Subscription,
        answer: Result<u8, Refusal>,
    ) -> Option<News> {
        let have = self.have.get_mut(filter)?;
        let before = match *have {
            Have::Asked(with) if with == how => None,
            Have::AskedAgain(with, refusal) if with == how => Some(refusal),
            _ => return None, // overtaken by a later request
        };
        match answer {
            Ok(qos) => {
                *have = Have::Granted(how, qos);
                before.map(|_| News::GrantedAtLast)
            }
            Err(refusal) => {
                *have = Have::Refused(how, refusal);
                (before != Some(refusal)).then_some(News::Refused(refusal))
            }
        }
    }

    /// The broker confirmed that a filter is given up.
    pub(super) fn left(&mut self, filter: &str) {
        if self.have.get(filter) == Some(&Have::Leaving) {
            self.have.remove(filter);
        }
    }

    /// Lets [`plan`](Self::plan) ask again for what was refused: an access list may have changed.
    pub(super) fn forgive(&mut self) {
        for have in self.have.values_mut() {
            if let Have::Refused(how, refusal) = *have {
                *have = Have::Doubted(how, refusal);
            }
        }
    }

    /// Every wanted filter is granted or refused.
    pub(super) fn settled(&self) -> bool {
        let granted = |filter| matches!(self.have.get(filter), Some(Have::Granted(..)));
        self.wanted.keys().all(|filter| granted(filter) || self.refusal(filter).is_some())
    }

    /// Whether the broker refuses this filter.
    pub(super) fn is_refused(&self, filter: &str) -> bool {
        self.refusal(filter).is_some()
    }

    fn refusal(&self, filter: &str) -> Option<Refusal> {
        match self.have.get(filter) {
            Some(
                Have::Refused(_, refusal)
                | Have::Doubted(_, refusal)
                | Have::AskedAgain(_, refusal),
            ) => Some(*refusal),
            _ => None,
        }
    }

    /// What is wanted, with the QoS that was granted where the broker has answered.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&str, Subscription, Option<u8>)> {
        self.wanted.iter().map(|(filter, how)| {
            let granted = match self.have.get(filter) {
                Some(Have::Granted(_, qos)) => Some(*qos),
                _ => None,
            };
            (filter.as_str(), *how, granted)
        })
    }

    /// Filters that the broker may have in our session.
    pub(super) fn possible(&self) -> BTreeSet<String> {
        let refused = |have: &Have| matches!(have, Have::Refused(..) | Have::Doubted(..));
        let held = self.have.iter().filter(|(_, have)| !refused(have));
        held.map(|(filter, _)| filter.clone()).collect()
    }

    /// For `/health`, without the filters in `hidden`.
    pub(super) fn status(&self, hidden: &str) -> BTreeMap<String, SubscriptionStatus> {
        let shown = self.wanted.keys().filter(|filter| *filter != hidden);
        shown.map(|filter| (filter.clone(), self.status_of(filter))).collect()
    }

    /// How one wanted filter stands.
    pub(super) fn status_of(&self, filter: &str) -> SubscriptionStatus {
        match (self.have.get(filter), self.refusal(filter)) {
            (Some(Have::Granted(_, qos)), _) => SubscriptionStatus::Granted { qos: *qos },
            (_, Some(Refusal { code, words })) => {
                SubscriptionStatus::Refused { code, reason: words.to_owned() }
            }
            _ => SubscriptionStatus::Pending,
        }
    }
}

/// The subscription of Tapline's own marker topic.
pub(super) fn of_marker() -> Subscription {
    Subscription { qos: 1, retain_handling: RetainHandling::Never, ..Subscription::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOW: fn(u8) -> Subscription = |qos| Subscription { qos, ..Subscription::default() };
    const NO: Refusal = Refusal { code: 0x87, words: "not allowed" };

    fn want(
        subscriptions: &mut Subscriptions,
        filters: &[(&str, u8)],
    ) -> (Vec<String>, Vec<String>) {
        subscriptions
            .want(filters.iter().map(|(filter, qos)| ((*filter).to_owned(), HOW(*qos))).collect());
        let plan = subscriptions.plan();
        (plan.subscribe.into_iter().map(|(filter, _)| filter).collect(), plan.unsubscribe)
    }

    #[test]
    fn asks_for_what_is_new_gives_up_what_is_gone_and_asks_again_for_what_changed() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(want(&mut subscriptions, &[("a", 1), ("b", 1)]).0, ["a", "b"]);
        assert!(!subscriptions.settled());
        subscriptions.answered("a", HOW(1), Ok(1));
        subscriptions.answered("b", HOW(1), Ok(0));
        assert!(subscriptions.settled());
        let (subscribe, unsubscribe) = want(&mut subscriptions, &[("b", 2), ("c", 1)]);
        assert_eq!((subscribe, unsubscribe), (vec!["b".into(), "c".into()], vec!["a".into()]));
        assert_eq!(subscriptions.plan(), Plan::default());
        subscriptions.left("a");
        assert_eq!(subscriptions.possible(), ["b".to_owned(), "c".to_owned()].into());
    }

    #[test]
    fn a_lost_session_asks_for_everything_again() {
        let mut subscriptions = Subscriptions::default();
        want(&mut subscriptions, &[("a", 1)]);
        subscriptions.answered("a", HOW(1), Ok(1));
        subscriptions.connected(None);
        assert_eq!(want(&mut subscriptions, &[("a", 1)]).0, ["a"]);
    }

    #[test]
    fn a_resumed_session_keeps_what_was_granted_and_loses_what_nobody_wants_any_more() {
        let mut subscriptions = Subscriptions::default();
        want(&mut subscriptions, &[("a", 1)]);
        subscriptions.answered("a", HOW(1), Ok(1));
        let kept = ["a".to_owned(), "of-a-removed-device".to_owned()].into();
        subscriptions.connected(Some(&kept));
        let (subscribe, unsubscribe) = want(&mut subscriptions, &[("a", 1)]);
        assert_eq!((subscribe.len(), unsubscribe), (0, vec!["of-a-removed-device".into()]));
    }

    #[test]
    fn after_a_restart_the_options_of_a_kept_subscription_are_not_trusted() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.connected(Some(&["a".to_owned()].into()));
        assert_eq!(want(&mut subscriptions, &[("a", 1)]).0, ["a"]);
    }

    #[test]
    fn a_refusal_is_shown_until_what_is_asked_again_is_granted() {
        let mut subscriptions = Subscriptions::default();
        want(&mut subscriptions, &[("a", 1)]);
        assert_eq!(subscriptions.answered("a", HOW(1), Err(NO)), Some(News::Refused(NO)));
        let shown = SubscriptionStatus::Refused { code: 0x87, reason: "not allowed".into() };
        let still_refused = |subscriptions: &Subscriptions| {
            assert!(subscriptions.settled());
            assert_eq!(subscriptions.status("")["a"], shown);
        };
        assert_eq!(subscriptions.plan(), Plan::default());
        still_refused(&subscriptions);
        subscriptions.forgive();
        still_refused(&subscriptions);
        assert_eq!(subscriptions.plan().subscribe.len(), 1);
        assert_eq!(subscriptions.plan(), Plan::default());
        still_refused(&subscriptions);
        assert_eq!(subscriptions.answered("a", HOW(1), Err(NO)), None, "it was said before");
        subscriptions.forgive();
        subscriptions.plan();
        assert_eq!(subscriptions.answered("a", HOW(1), Ok(1)), Some(News::GrantedAtLast));
        assert_eq!(subscriptions.status("")["a"], SubscriptionStatus::Granted { qos: 1 });
    }

    #[test]
    fn what_is_refused_and_no_longer_wanted_is_forgotten() {
        let mut subscriptions = Subscriptions::default();
        want(&mut subscriptions, &[("a", 1), ("b", 1)]);
        subscriptions.answered("a", HOW(1), Err(NO));
        subscriptions.answered("b", HOW(1), Err(NO));
        subscriptions.forgive();
        assert_eq!(want(&mut subscriptions, &[("b", 1)]), (vec!["b".into()], vec![]));
        // It is under way, so the broker may have it.
        assert_eq!(want(&mut subscriptions, &[]), (vec![], vec!["b".into()]));
    }

    #[test]
    fn an_answer_to_an_overtaken_request_changes_nothing() {
        let mut subscriptions = Subscriptions::default();
        want(&mut subscriptions, &[("a", 1)]);
        want(&mut subscriptions, &[("a", 2)]);
        subscriptions.answered("a", HOW(1), Err(NO));
        assert!(!subscriptions.settled());
        want(&mut subscriptions, &[]);
        want(&mut subscriptions, &[("a", 2)]);
        subscriptions.left("a");
        subscriptions.answered("a", HOW(2), Ok(2));
        assert!(subscriptions.settled());
    }
}
