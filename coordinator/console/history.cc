#include "coordinator/console/history.h"

#include <algorithm>
#include <utility>

namespace filigree::coordinator {

void History::Add(const std::string& job, const Sample& sample) {
  const std::lock_guard lock(mutex_);
  Series& series = series_[job];
  by_touch_.erase(series.touched);
  series.touched = ++touches_;
  by_touch_[series.touched] = job;
  std::vector<Sample>& points = series.points;
  const bool same =
      !points.empty() && points.back().generation == sample.generation && points.back().step == sample.step;
  // Between two points that stay, the newest is kept in place of the one before it.
  const bool between = points.size() >= 2 && series.skipped + 1 < series.stride;
  if (same) {
    points.back() = sample;
    return;
  }
  if (between) {
    points.back() = sample;
    ++series.skipped;
    return;
  }
  series.skipped = 0;
  points.push_back(sample);
  ++points_;
  if (points.size() > limits_.points) {
    const size_t before = points.size();
    size_t kept = 0;
    for (size_t i = 0; i < points.size(); ++i)
      if (i % 2 == 0 || i + 1 == points.size()) points[kept++] = points[i];
    points.resize(kept);
    points_ -= before - kept;
    series.stride *= 2;
  }
  MakeRoom(job);
}

void History::MakeRoom(const std::string& keep) {
  while (points_ * sizeof(Sample) > limits_.bytes && series_.size() > 1) {
    const auto oldest = series_.find(by_touch_.begin()->second);
    if (oldest->first == keep) return;  // it is the newest: nothing else is left
    points_ -= oldest->second.points.size();
    series_.erase(oldest);
    by_touch_.erase(by_touch_.begin());
  }
}

void History::Add(const Event& event) {
  const std::lock_guard lock(mutex_);
  events_.push_back({++last_event_, event});
  std::string& text = events_.back().event.text;
  if (text.size() > limits_.text_bytes) text.resize(limits_.text_bytes);
  if (events_.size() > limits_.events) events_.pop_front();
}

std::vector<Sample> History::SamplesOf(const std::string& job) const {
  const std::lock_guard lock(mutex_);
  const auto found = series_.find(job);
  return found == series_.end() ? std::vector<Sample>() : found->second.points;
}

std::optional<Sample> History::LastOf(const std::string& job) const {
  const std::lock_guard lock(mutex_);
  const auto found = series_.find(job);
  if (found == series_.end() || found->second.points.empty()) return std::nullopt;
  return found->second.points.back();
}

std::vector<History::NumberedEvent> History::EventsAfter(int64_t after, size_t most) const {
  const std::lock_guard lock(mutex_);
  const int64_t behind = std::max<int64_t>(last_event_ - std::max<int64_t>(after, 0), 0);
  const size_t count = std::min({events_.size(), most, static_cast<size_t>(behind)});
  return {events_.end() - static_cast<std::ptrdiff_t>(count), events_.end()};
}

size_t History::bytes() const {
  const std::lock_guard lock(mutex_);
  return points_ * sizeof(Sample);
}

}  // namespace filigree::coordinator
