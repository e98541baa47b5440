#include "worker/telemetry/display.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <string>

// What the user sees, to the letter.

namespace filigree::telemetry {
namespace {

StepRecord Step(int64_t s) {
  StepRecord r;
  r.step = s;
  r.loss = 3.21009;
  r.z_score = -0.417;
  r.lr = 0.0512;
  r.density = 1.0 / 16;
  r.gradient_norm = 0.1234;
  r.ms = 412.3;
  r.tokens_per_second = 9941.4;
  r.percent_of_peak = 23.44;
  return r;
}

// What a display with these steps writes.
class Screen {
 public:
  Screen() { file_ = open_memstream(&text_, &size_); }
  ~Screen() {
    std::fclose(file_);
    std::free(text_);  // NOLINT(cppcoreguidelines-no-malloc): the stream allocates so
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  std::FILE* file() { return file_; }
  std::string Text() {
    std::fflush(file_);
    return {text_, size_};
  }

 private:
  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* file_ = nullptr;
};

class DisplayTest : public ::testing::Test {
 protected:
  DisplayTest() {
    setenv("TZ", "UTC", 1);
    tzset();
  }
};

constexpr double kNoon = 1764000000 - 1764000000 % 86400 + 43200;

TEST_F(DisplayTest, StepLineHasEveryFigure) {
  EXPECT_EQ(
      StepLine(Step(120)),
      "step 120  loss 3.2101  z -0.42  lr 5.120e-02  density 0.0625  grad 1.234e-01  412 ms  9,941 tok/s  23.4% of "
      "peak");
  StepRecord r;
  r.loss = std::nan("");
  r.ms = 1.25;
  r.tokens_per_second = 1234567;
  EXPECT_EQ(
      StepLine(r),
      "step 0  loss nan  z +0.00  lr 0.000e+00  density 0  grad 0.000e+00  1.2 ms  1,234,567 tok/s  0.0% of peak");
}

TEST_F(DisplayTest, Durations) {
  EXPECT_EQ(DurationText(0), "0.0s");
  EXPECT_EQ(DurationText(9.94), "9.9s");
  EXPECT_EQ(DurationText(42.4), "42s");
  EXPECT_EQ(DurationText(59.7), "1m 00s");
  EXPECT_EQ(DurationText(725), "12m 05s");
  EXPECT_EQ(DurationText(3725), "1h 02m");
  EXPECT_EQ(DurationText(86400 * 3 + 3600 * 4.5), "3d 04h");
  EXPECT_EQ(DurationText(-1), "?");
  EXPECT_EQ(DurationText(std::nan("")), "?");
}

TEST_F(DisplayTest, EtaNamesTheDateWhereItIsNotToday) {
  EXPECT_EQ(EtaText(3725, kNoon), "eta 1h 02m, done 13:02");
  EXPECT_EQ(EtaText(86400, kNoon).substr(0, 23), "eta 1d 00h, done 2025-1");
  EXPECT_EQ(EtaText(-1, kNoon), "");
  EXPECT_EQ(EtaText(std::nan(""), kNoon), "");
  EXPECT_EQ(EtaText(INFINITY, kNoon), "");
  EXPECT_EQ(EtaText(1e300, kNoon), "eta over 100 years");
}

TEST_F(DisplayTest, BarFitsEveryWidth) {
  EXPECT_EQ(BarText(50, 200, "eta 12s, done 13:02", 60),
            "[======                   ]  25% 50/200  eta 12s, done 13:02");
  for (int width = 0; width < 200; ++width)
    for (const int64_t completed : {0, 1, 999, 1000}) {
      const std::string bar = BarText(completed, 1000, "eta 1h 02m, done 14:05", width);
      EXPECT_LE(static_cast<int>(bar.size()), width);
      EXPECT_EQ(bar.find('%') != std::string::npos, width >= 4) << width;
      EXPECT_EQ(bar.find("100%") != std::string::npos, completed == 1000 && width >= 4) << bar;
    }
  EXPECT_EQ(BarText(0, 0, "", 40).find("nan"), std::string::npos);
}

TEST_F(DisplayTest, PlainLinesHaveTheEta) {
  Screen screen;
  Display display(Output::kAuto, screen.file(), 3, 0, kNoon);
  display.Run({0, 3, 4096, kNoon, "first", {{"bigram", 3.5}}, {{"threads", "2"}}});
  display.Step(Step(0), kNoon + 60);
  display.Eval({1, 3.25, 1.5, 100, 1, {{"unigram", 5}, {"bigram", 3.5}}});
  display.Sample({1, "def ", "f():\n  pass\x1b[31m"});
  display.Checkpoint({1, 0.25, 12'300'000, "runs/first/c"});
  display.Note({1, "disk full"});
  display.End({1, 725, "stopped"});
  EXPECT_EQ(screen.Text(),
            "run first: 3 steps of 4096 tokens\n"
            "  threads          2\n"
            "  validation loss without a model: bigram 3.5000\n" +
                StepLine(Step(0)) +
                "  eta 2m 00s, done 12:03\n"
                "eval after 1: validation loss 3.2500, 1.5000 bits a byte (unigram 5.0000, bigram 3.5000)\n"
                "sample after 1:\n  | def f():\n  |   pass\xef\xbf\xbd[31m\n"
                "checkpoint after 1: 12.3 MB in 0.2s, runs/first/c\n"
                "note: disk full\n"
                "stopped after 1 of 3 steps, in 12m 05s\n");
}

TEST_F(DisplayTest, TimeLeftIsThatOfTheLastSteps) {
  Screen screen;
  Display display(Output::kLines, screen.file(), 1000, 0, 0);
  double now = 0;
  for (int s = 0; s < 500; ++s) display.Step(Step(s), now += s < 300 ? 100 : 1);
  const std::string text = screen.Text();
  EXPECT_NE(text.rfind("eta 8m 20s"), std::string::npos) << text.substr(text.size() - 100);
}

TEST_F(DisplayTest, TerminalRedrawsTheBarBelowTheLines) {
  Screen screen;
  Display display(Output::kTerminal, screen.file(), 2, 0, kNoon);
  display.Step(Step(0), kNoon + 1);
  std::string text = screen.Text();
  EXPECT_EQ(text.substr(0, 5), "\r\x1b[2K");
  EXPECT_NE(text.find("peak\n["), std::string::npos) << text;
  EXPECT_NE(text.find(" 50% 1/2  eta 1.0s, done 12:00"), std::string::npos) << text;
  EXPECT_NE(text.back(), '\n');
  display.Step(Step(1), kNoon + 2);
  display.End({2, 2, "done"});
  text = screen.Text();
  const std::string end = "\r\x1b[2Kdone after 2 of 2 steps, in 2.0s\n";
  EXPECT_EQ(text.substr(text.size() - end.size()), end);
}

// mpirun gives ranks a terminal that has no width, and often writes to a file itself.
TEST_F(DisplayTest, AnEndThatIsASentenceStaysOne) {
  Screen screen;
  Display display(Output::kLines, screen.file(), 30, 0, kNoon);
  display.End({30, 2, "cannot write x: No space left on device"});
  EXPECT_EQ(screen.Text(), "cannot write x: No space left on device; ended after 30 of 30 steps, in 2.0s\n");
}

TEST_F(DisplayTest, NoBarOnATerminalWithoutAWidth) {
  const char* const before = std::getenv("TERM");
  const std::string term = before == nullptr ? "" : before;
  setenv("TERM", "xterm", 1);
  for (const int columns : {0, 70}) {
    winsize size{};
    size.ws_col = static_cast<unsigned short>(columns);
    int master = -1, slave = -1;
    ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, &size), 0);
    std::FILE* screen = fdopen(slave, "w");
    Display display(Output::kAuto, screen, 3, 0, kNoon);
    display.Note({1, "n"});
    std::string text(1000, '\0');
    const ssize_t bytes = read(master, text.data(), text.size());
    text.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
    EXPECT_NE(text.find("note: n"), std::string::npos) << text;
    EXPECT_EQ(text.find("\x1b[2K") != std::string::npos, columns > 0) << text;
    fclose(screen);
    close(master);
  }
  term.empty() ? unsetenv("TERM") : setenv("TERM", term.c_str(), 1);
}

TEST_F(DisplayTest, QuietKeepsEvaluationsNotesAndTheEnd) {
  Screen screen;
  Display display(Output::kQuiet, screen.file(), 2, 0, kNoon);
  display.Run({});
  display.Step(Step(0), kNoon + 1);
  display.Checkpoint({});
  display.Sample({});
  EXPECT_EQ(screen.Text(), "");
  display.Eval({1, 3, 1, 1, 1, {}});
  display.Note({1, "n"});
  display.End({1, 1, "done"});
  EXPECT_EQ(screen.Text(),
            "eval after 1: validation loss 3.0000, 1.0000 bits a byte\nnote: n\ndone after 1 of 2 steps, in 1.0s\n");
}

TEST(Escaped, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(Escaped("a\tb\nc é 漢"), "a\tb\nc é 漢");
  EXPECT_EQ(Escaped("\x1b[31m\r\x7f"), "\\x1b[31m\\x0d\\x7f");
  EXPECT_EQ(Escaped("\xc2\x9b"), "\\xc2\\x9b");  // CSI of C1
  EXPECT_EQ(Escaped("\xff"), "\\xff");
}

TEST(Printable, LetsNothingThroughThatATerminalObeys) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(Printable("a\tb\nc é 漢 \xf0\x9f\xa6\x8e"), "a\tb\nc é 漢 \xf0\x9f\xa6\x8e");
  EXPECT_EQ(Printable("\x1b[31m\r\x07\x7f"), r + "[31m" + r + r + r);
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a" + r + "b");
  EXPECT_EQ(Printable("\xc2\x9b"), r);              // CSI of C1
  EXPECT_EQ(Printable("\xc0\xaf"), r + r);          // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), r + r + r);  // a surrogate
  EXPECT_EQ(Printable("\xe2\x82"), r + r);          // cut off
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(Printable("\xff"), r);
}

}  // namespace
}  // namespace filigree::telemetry
