#include "worker/client/watch.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

#include "worker/client/json.h"
#include "worker/client/lines.h"
#include "worker/client/names.h"
#include "worker/telemetry/display.h"

namespace filigree::client {
namespace {

constexpr std::chrono::seconds kBetweenLines{10};
constexpr std::chrono::seconds kStreamLifetime{3000};  // below the server's hour, so that it is renewed in peace

// Of the wall clock: for times of day alone.
double Now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

WatchOutput Resolved(WatchOutput output, std::FILE* out) {
  if (output != WatchOutput::kAuto) return output;
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || std::strcmp(term, "dumb") == 0;
  return isatty(fileno(out)) == 1 && !dumb ? WatchOutput::kTerminal : WatchOutput::kLines;
}

int Columns(std::FILE* out) {
  winsize size = {};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

// What has been heard, as the user sees it.
class View {
 public:
  explicit View(const WatchOptions& options) : out_(options.out), output_(Resolved(options.output, options.out)) {}
  ~View() { Wipe(); }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  void Take(const v1::WatchReply& reply) {
    if (reply.has_job()) TakeJob(reply.job());
    if (reply.has_event()) TakeEvent(reply.event());
    if (reply.has_progress()) TakeProgress(reply.progress());
  }

  void Note(const std::string& text) {
    if (output_ != WatchOutput::kJson) Line(text);
  }

  // Events of all jobs went by that nobody will tell again.
  void Missed() {
    if (output_ == WatchOutput::kJson) return Json({{"missed", true}});
    Line("events were missed: more happened at once than could be read; list the jobs and workers for how things are");
  }

  v1::JobState state() const { return state_; }

 private:
  void TakeJob(const v1::Job& job) {
    state_ = job.state();
    target_ = TargetSteps(job.spec());
    if (output_ == WatchOutput::kJson) return Json({{"snapshot", JsonOf(job)}});
    Line(fmt::format("{}  {}: {}", telemetry::Printable(job.id()), NameOf(job.state()),
                     telemetry::Printable(job.reason())));
  }

  void TakeEvent(const v1::Event& event) {
    if (event.kind() == v1::EVENT_KIND_JOB_MOVED) state_ = event.to();
    if (output_ == WatchOutput::kJson) return Json(JsonOf(event));
    Line(EventLine(event));
  }

  void TakeProgress(const v1::Progress& progress) {
    if (output_ == WatchOutput::kJson) return Json({{"progress", JsonOf(progress)}});
    if (output_ == WatchOutput::kTerminal) return DrawBar(progress, Now());
    const auto now = std::chrono::steady_clock::now();
    if (said_.has_value() && now - *said_ < kBetweenLines) return;
    said_ = now;
    Line(ProgressLine(progress, target_, Now()));
  }

  void DrawBar(const v1::Progress& progress, double now) {
    std::string text = telemetry::EtaText(SecondsLeft(progress, target_), now);
    if (progress.step_seconds() > 0) text += fmt::format("  {:.1f} ms/step", progress.step_seconds() * 1e3);
    if (progress.slow_size() > 0) {
      const v1::SlowRank& slow = progress.slow(0);
      text += fmt::format("  slow: rank {} on {}, {:.1f}x in {}", slow.rank(), telemetry::Printable(slow.worker()),
                          slow.ratio(), NameOf(slow.phase()));
    }
    const std::string bar = target_ > 0
                                ? telemetry::BarText(progress.step(), target_, text, Columns(out_) - 1)
                                : ProgressLine(progress, 0, now).substr(0, static_cast<size_t>(Columns(out_) - 1));
    Write("\r\033[K" + bar);
    drawn_ = true;
  }

  void Wipe() {
    if (drawn_) Write("\r\033[K");
    drawn_ = false;
  }
  void Line(const std::string& text) {
    Wipe();
    Write(text + "\n");
  }
  void Json(const nlohmann::ordered_json& json) { Write(LineOf(json) + "\n"); }
  void Write(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), out_);
    std::fflush(out_);
  }

  std::FILE* const out_;
  const WatchOutput output_;
  v1::JobState state_ = v1::JOB_STATE_UNSPECIFIED;
  int64_t target_ = 0;
  std::optional<std::chrono::steady_clock::time_point> said_;
  bool drawn_ = false;
};

// One stream from its beginning to its end; whether it said anything.
grpc::Status ReadStream(const Connection& connection, const std::string& job, View& view, bool& heard) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kStreamLifetime);
  v1::WatchRequest request;
  request.set_job(job);
  const auto stream = connection.stub().Watch(&context, request);
  v1::WatchReply reply;
  while (stream->Read(&reply)) {
    heard = true;
    view.Take(reply);
  }
  return stream->Finish();
}

bool GoesOn(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
}

}  // namespace

absl::StatusOr<v1::JobState> Watch(const Connection& connection, const WatchOptions& options) {
  View view(options);
  auto last_heard = std::chrono::steady_clock::now();
  bool away = false, ever_heard = false;
  for (;;) {
    bool heard = false;
    const auto began = std::chrono::steady_clock::now();
    const grpc::Status status = ReadStream(connection, options.job, view, heard);
    if (status.ok()) return view.state();
    const auto now = std::chrono::steady_clock::now();
    // A stream that lived its whole life had the coordinator at its other end, if nothing to tell.
    const bool lived = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED &&
                       now - began >= kStreamLifetime - std::chrono::seconds(1);
    if (heard || lived) {
      last_heard = now;
      away = false;
      ever_heard = true;
    }
    const auto patience = ever_heard ? options.patience : connection.patience();
    // Of one job the next stream begins with how it is.
    if (heard && options.job.empty() && status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) view.Missed();
    if (!GoesOn(status) || now - last_heard > patience) return connection.Explained(status);
    if (!away && status.error_code() == grpc::StatusCode::UNAVAILABLE)
      view.Note("the coordinator is away; waiting for it");
    away = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
  }
}

}  // namespace filigree::client
