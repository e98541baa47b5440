// Plays workers for a coordinator: they run whatever they are given, with figures as a training run has them, and print
// lines. Ends when its stdin does.
//
//   play --coordinator HOST:PORT [--fail-step N] [--slow-rank R] [--steps N] [--beat-ms N]

#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/coordinator/rpc/rig.h"

namespace filigree::coordinator {
namespace {

constexpr double kStepSeconds[8] = {0.002, 0.030, 0.055, 0.004, 0.020, 0.008, 0.006, 0.001};

struct PlayOptions {
  rpc::ChannelOptions channel;
  int64_t fail_step = -1;  // rank 1 fails there, once
  int32_t slow_rank = -1;  // reads its data three times as long as all the rest takes
  int64_t steps = 400;     // of every job
  int beat_ms = 100;
};

void FillFigures(int64_t step, int64_t steps, v1::RunFigures& figures) {
  const double done = static_cast<double>(step) / static_cast<double>(steps);
  figures.set_target_steps(steps);
  figures.set_train_loss(2.2 + 3 * std::exp(-6 * done) + 0.05 * std::sin(static_cast<double>(step)));
  if (step >= 20)
    figures.set_val_loss(2.3 + 3 * std::exp(-6 * static_cast<double>(step / 20 * 20) / static_cast<double>(steps)));
  figures.set_density(std::max(1.0 / 64, 1 - 2 * done));
  figures.set_target_density(1.0 / 64);
  figures.set_learning_rate(0.01 * (1 - done));
  figures.set_tokens(static_cast<uint64_t>(step) * 8192);
  figures.clear_matrices();
  for (int layer = 0; layer < 2; ++layer)
    for (const char* name : {"c_attn", "c_fc"}) {
      v1::MatrixFigures& matrix = *figures.add_matrices();
      matrix.set_layer(layer);
      matrix.set_matrix(name);
      matrix.set_density(figures.density());
      matrix.set_threshold(0.01);
      if (step >= 20) matrix.set_churn(0.2 * std::exp(-3 * done));
    }
}

class Player {
 public:
  Player(const PlayOptions& options, const char* name)
      : options_(options), worker_(Connected(options), name, 2, name) {}

  void Beat() {
    const auto reply = worker_.Beat();
    if (!reply.ok()) std::fprintf(stderr, "%s\n", reply.status().ToString().c_str());
    for (v1::RankReport& rank : *worker_.beat.mutable_ranks())
      if (rank.state() == v1::RANK_STATE_RUNNING) Step(rank);
  }

 private:
  Peer& Connected(const PlayOptions& options) {
    peer_.Connect(options.channel);
    return peer_;
  }

  void Step(v1::RankReport& rank) {
    v1::RankProgress& progress = *rank.mutable_progress();
    const int64_t step = progress.step() + 1;
    progress.set_step(step);
    const bool slow = rank.rank() == options_.slow_rank;
    v1::PhaseSeconds& sum = *progress.mutable_seconds();
    const auto steps = static_cast<double>(step);
    sum.set_data(steps * (slow ? 0.3 : kStepSeconds[0]));
    sum.set_forward(steps * kStepSeconds[1]);
    sum.set_backward(steps * kStepSeconds[2]);
    sum.set_compress(steps * kStepSeconds[3]);
    sum.set_exchange(steps * (slow ? kStepSeconds[4] : kStepSeconds[4] + 0.3 * (options_.slow_rank >= 0 ? 1 : 0)));
    sum.set_optimizer(steps * kStepSeconds[5]);
    sum.set_topk(steps * kStepSeconds[6]);
    sum.set_checkpoint(steps * kStepSeconds[7]);
    progress.set_sent_bytes(static_cast<uint64_t>(step) * 1'300'000);
    progress.set_dense_equivalent_bytes(static_cast<uint64_t>(step) * 42'000'000);
    if (rank.rank() == 0) FillFigures(step, options_.steps, *rank.mutable_figures());
    if (step % 10 == 0) Print(rank, "step " + std::to_string(step) + "\n");
    if (step >= options_.steps) rank.set_state(v1::RANK_STATE_FINISHED);
    if (step != options_.fail_step || rank.rank() != 1 || rank.generation() != 1) return;
    Print(rank, "\x1b[31mout of memory\x1b[0m\n");
    rank.set_state(v1::RANK_STATE_FAILED);
    rank.set_reason("<b>out of memory</b> in backward");  // markup, to be shown as text
  }

  void Print(const v1::RankReport& rank, const std::string& text) {
    v1::SendLogRequest request;
    *request.mutable_speaker() = worker_.speaker();
    v1::LogPart& part = *request.add_parts();
    part.set_job(rank.job());
    part.set_generation(rank.generation());
    part.set_rank(rank.rank());
    int64_t& printed =
        printed_[rank.job() + ' ' + std::to_string(rank.generation()) + ' ' + std::to_string(rank.rank())];
    part.set_offset(printed);
    part.set_text(text);
    printed += static_cast<int64_t>(text.size());
    const auto sent = Call(peer_.workers, &v1::Workers::Stub::SendLog, request);
    if (!sent.ok()) std::fprintf(stderr, "%s\n", sent.status().ToString().c_str());
  }

  const PlayOptions& options_;
  Peer peer_;
  FakeWorker worker_;
  std::map<std::string, int64_t> printed_;
};

void Play(const PlayOptions& options) {
  Player a(options, "node-a"), b(options, "node-b");
  std::printf("playing\n");
  std::fflush(stdout);
  pollfd in = {STDIN_FILENO, POLLIN, 0};
  while (poll(&in, 1, options.beat_ms) == 0) {
    a.Beat();
    b.Beat();
  }
}

}  // namespace
}  // namespace filigree::coordinator

int main(int argc, char** argv) {
  filigree::coordinator::PlayOptions options;
  CLI::App app("Plays workers for a coordinator until its stdin ends.");
  app.add_option("--coordinator", options.channel.address)->required();
  app.add_option("--fail-step", options.fail_step);
  app.add_option("--slow-rank", options.slow_rank);
  app.add_option("--steps", options.steps);
  app.add_option("--beat-ms", options.beat_ms);
  CLI11_PARSE(app, argc, argv);
  filigree::coordinator::Play(options);
  return 0;
}
