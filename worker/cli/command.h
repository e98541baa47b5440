#ifndef FILIGREE_WORKER_CLI_COMMAND_H_
#define FILIGREE_WORKER_CLI_COMMAND_H_

#include <CLI/CLI.hpp>

#include "absl/status/status.h"

// The subcommands of the program `filigree`, one short file each: Add<Name>Command declares its options on `app` and
// sets `exit_code` when the subcommand has run.
//
// Exit codes: 0 done; 1 failed; 2 usage or configuration; 3 data or checkpoint unusable; 4 a rank or host lost;
// 5 replicas disagree; 6 out of memory; 75 stopped on request after a checkpoint, run again to go on.

namespace filigree::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnusable = 3;
inline constexpr int kExitRankLost = 4;
inline constexpr int kExitReplicasDiffer = 5;
inline constexpr int kExitStopped = 75;

// The exit code of a status: 0 for OK, 2 for InvalidArgument, 3 for NotFound, DataLoss and FailedPrecondition, else 1.
int ExitCodeOf(const absl::Status& status);
// The same, and prints "filigree: MESSAGE" on stderr where it is not OK.
int Finish(const absl::Status& status);

void AddPrepareCommand(CLI::App& app, int& exit_code);
void AddEncodeCommand(CLI::App& app, int& exit_code);
void AddDecodeCommand(CLI::App& app, int& exit_code);
void AddTrainCommand(CLI::App& app, int& exit_code);
void AddEvalCommand(CLI::App& app, int& exit_code);
void AddGenerateCommand(CLI::App& app, int& exit_code);
void AddActivationsCommand(CLI::App& app, int& exit_code);
void AddInspectCommand(CLI::App& app, int& exit_code);
void AddProfileCommand(CLI::App& app, int& exit_code);
void AddReportCommand(CLI::App& app, int& exit_code);
void AddExportCommand(CLI::App& app, int& exit_code);
void AddImportCommand(CLI::App& app, int& exit_code);
void AddBenchCommand(CLI::App& app, int& exit_code);
void AddRankBenchmarks(CLI::App& bench, int& exit_code);  // those of several ranks

// Of a cluster.
void AddCoordinatorCommand(CLI::App& app, int& exit_code);
void AddWorkerCommand(CLI::App& app, int& exit_code);
void AddSubmitCommand(CLI::App& app, int& exit_code);
void AddJobsCommand(CLI::App& app, int& exit_code);
void AddWatchCommand(CLI::App& app, int& exit_code);
void AddLogsCommand(CLI::App& app, int& exit_code);
void AddCancelCommand(CLI::App& app, int& exit_code);
void AddDrainCommand(CLI::App& app, int& exit_code);
void AddCertsCommand(CLI::App& app, int& exit_code);
// Prints a script that completes what the other commands of `app` take.
void AddCompletionCommand(CLI::App& app, int& exit_code);

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_COMMAND_H_
