#ifndef FILIGREE_TESTS_COORDINATOR_JOURNAL_SAMPLE_ROWS_H_
#define FILIGREE_TESTS_COORDINATOR_JOURNAL_SAMPLE_ROWS_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "coordinator/journal/journal.h"
#include "coordinator/tables/tables.h"

namespace filigree::coordinator {

// A folder of its own for one test, gone with it.
class Folder {
 public:
  Folder() : path_(::testing::TempDir() + "journalXXXXXX") { EXPECT_NE(::mkdtemp(path_.data()), nullptr); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline bool Says(const absl::Status& status, absl::StatusCode code, const std::string& part) {
  return status.code() == code && std::string(status.message()).find(part) != std::string::npos;
}

inline WorkerRow SampleWorker(const std::string& name, int64_t incarnation = 1) {
  WorkerRow row;
  row.name = name;
  row.host = "host-" + name;
  row.slots = 4;
  row.incarnation = incarnation;
  row.nonce = "nonce-" + name;
  return row;
}

inline JobRow SampleJob(int64_t number, const std::string& name = "job") {
  contract::JobSpec spec;
  spec.name = name;
  spec.config = "[model]\nd_model = 64\n";
  spec.data = 2;
  JobRow row;
  row.id = name + "-" + std::to_string(number);
  row.number = number;
  row.spec = std::make_shared<const contract::JobSpec>(spec);
  row.reason = "submitted";
  row.submitted_us = 1'700'000'000'000'000 + number;
  return row;
}

// The job with all its ranks on one worker, running.
inline JobRow Running(JobRow row, const WorkerRow& worker, int64_t generation) {
  row.state = JobState::kRunning;
  row.generation = generation;
  row.data = row.spec->data;
  row.ranks.assign(static_cast<size_t>(row.data) * row.spec->tensor, {worker.name, worker.incarnation});
  row.held = true;
  row.ran = true;
  row.started_us = row.submitted_us + 1;
  return row;
}

inline CommitRow SampleCommit(const JobRow& job, int64_t step) {
  return {job.id, {job.generation, step, "0123456789abcdef"}, 1'700'000'000'000'000 + step};
}

inline std::unique_ptr<Journal> Opened(const std::string& path, const JournalOptions& options = {}) {
  auto journal = Journal::Open(path, options);
  EXPECT_TRUE(journal.ok()) << journal.status();
  return journal.ok() ? *std::move(journal) : nullptr;
}

// What a process that opens the journal now reads.
inline std::string DumpOf(const std::string& path) {
  const auto journal = Opened(path);
  return journal == nullptr ? "" : Dump(journal->tables());
}

}  // namespace filigree::coordinator

#endif  // FILIGREE_TESTS_COORDINATOR_JOURNAL_SAMPLE_ROWS_H_
