//! What is told and not judged, because changing it is not a matter of speed.

use super::{Place, Row, TOLD, Weight};

pub(super) const ROWS: &[Row] = &[Row {
    name: "mitigations",
    place: Place::Mitigations,
    weight: Weight::Told,
    wishes: [TOLD, TOLD, TOLD, TOLD],
    why: "they cost system calls some of their time: a figure is worth something only with them named beside it",
    source: "Documentation/admin-guide/hw-vuln",
    undo: "nothing was changed",
    page: "leave-alone",
}];
