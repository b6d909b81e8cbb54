//! The owner's dead letters, as the import and the outage's drain hand them in.

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::inputs::Input;
use crate::journal::import::{ForeignLetter, LetterBook};
use crate::owner::{Answer, Command};

pub(super) struct OwnerBook {
    inputs: mpsc::Sender<Input>,
}

impl OwnerBook {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> OwnerBook {
        OwnerBook { inputs }
    }
}

#[async_trait]
impl LetterBook for OwnerBook {
    async fn enter(&self, letter: ForeignLetter) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let input = Input::Command { command: Command::Bury(letter), answer };
        let gone = || "the owner does not answer".to_owned();
        self.inputs.send(input).await.map_err(|_| gone())?;
        match answered.await {
            Ok(Answer::Done) => Ok(()),
            Ok(other) => Err(format!("{other:?}")),
            Err(_) => Err(gone()),
        }
    }
}
