//! How the run is, on its way into the state files.

use tokio::task::JoinError;

use super::{Run, Start, panic_message};
use crate::error::HomeError;
use crate::process_mark::ProcessMark;
use crate::run_store::prompt_start;
use crate::{AgentRecord, RunEvent, RunRecordSummary, RunReport, RunState, chain};

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    /// Starts writing the state files, if the run is kept.
    pub(super) fn save(&mut self, report: Option<&RunReport>) {
        self.state_changed = false;
        let Some(state) = &self.start.state else { return };
        let process = ProcessMark::own();
        let agents = self.start.ready.agents.iter().zip(&self.slots).filter_map(|(ready, slot)| {
            let ((_, started_at), None) = (slot.started?, &slot.report) else { return None };
            Some(AgentRecord {
                agent: ready.id().clone(),
                run_id: self.start.id,
                driver: ready.agent.profile().driver.to_string(),
                pid: slot.heard.pid,
                started_at,
                process,
            })
        });
        self.saves.spawn(state.clone().save(self.start.run_record(report), agents.collect()));
    }

    pub(super) fn saved(&mut self, saved: Result<Result<Vec<String>, HomeError>, JoinError>) {
        let warnings = match saved {
            Ok(Ok(warnings)) => warnings,
            Ok(Err(error)) => vec![not_kept(&error)],
            Err(error) => vec![format!("how the run is is not kept: {}", panic_message(error))],
        };
        for warning in warnings {
            self.warn(warning);
        }
    }
}

impl Start<'_> {
    /// How the run is; with a report when it has ended.
    pub(super) fn run_record(&self, report: Option<&RunReport>) -> RunRecordSummary {
        RunRecordSummary {
            run_id: self.id,
            status: report.map_or(RunState::Running, |report| RunState::Ended(report.status)),
            mode: self.mode(),
            agents: self.ready.agents.iter().map(|ready| ready.id().clone()).collect(),
            prompt_start: prompt_start(&self.ready.shown_prompt),
            cwd: self.ready.cwd.clone(),
            started_at: self.started_at,
            duration_ms: report.map(|report| report.duration_ms),
            process: Some(ProcessMark::own()),
        }
    }
}

pub(super) fn not_kept(error: &HomeError) -> String {
    format!("how the run is is not kept: {}", chain(error))
}
