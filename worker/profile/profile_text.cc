#include "worker/profile/profile_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

namespace filigree::train {
namespace {

using Json = nlohmann::ordered_json;

// Four digits say all that a timing knows.
double Rounded(double x) { return x == 0 ? 0 : std::stod(fmt::format("{:.4g}", x)); }

double Gigas(double amount, double seconds) { return seconds > 0 ? 1e-9 * amount / seconds : 0; }

double Percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

// What the figures of a step are formed with: milliseconds of one step.
double MsPerStep(const Profile& profile, double seconds) {
  return 1e3 * seconds / static_cast<double>(std::max<size_t>(profile.steps.size(), 1));
}

std::array<std::pair<const char*, double>, 6> Phases(const Profile& profile) {
  const PhaseTimes& p = profile.phases;
  return {{{"data", p.data},
           {"forward", p.forward},
           {"backward", p.backward},
           {"optimizer", p.optimizer},
           {"topk", p.topk},
           {"other", std::max(0.0, profile.wall_seconds - p.sum())}}};
}

double NoKernelSeconds(const Profile& profile) {
  return profile.thread_seconds() - profile.kernel_seconds() - profile.off_core_seconds();
}

double TokensPerSecond(const Profile& profile) {
  const auto steps = static_cast<double>(profile.steps.size());
  return static_cast<double>(profile.tokens_per_step) * steps / profile.wall_seconds;
}

Json KernelJson(const Profile& profile, const KernelTime& kernel) {
  Json line = {{"kind", "kernel"}, {"name", kernel.name}};
  line["calls_per_step"] = Rounded(static_cast<double>(kernel.calls) / static_cast<double>(profile.steps.size()));
  line["thread_ms_per_step"] = Rounded(MsPerStep(profile, kernel.seconds));
  line["percent_of_time"] = Rounded(Percent(kernel.seconds, profile.thread_seconds()));
  line["flops_per_step"] = Rounded(kernel.flops / static_cast<double>(profile.steps.size()));
  line["bytes_per_step"] = Rounded(kernel.bytes / static_cast<double>(profile.steps.size()));
  line["gflops_per_thread"] = Rounded(Gigas(kernel.flops, kernel.seconds));
  line["gbps_per_thread"] = Rounded(Gigas(kernel.bytes, kernel.seconds));
  line["percent_of_roofline"] = Rounded(kernel.percent_of_roofline());
  line["bound"] = kernel.bound;
  return line;
}

Json ProfileJson(const Profile& profile) {
  const machine::Machine& m = profile.machine;
  Json line = {{"kind", "profile"}, {"run", profile.run}, {"first_step", profile.steps.front().step}};
  line["steps"] = profile.steps.size();
  line["tokens_per_step"] = profile.tokens_per_step;
  line["density"] = profile.density;
  line["embedding_density"] = profile.embedding_density;
  line["threads"] = m.threads;
  line["ms_per_step"] = Rounded(MsPerStep(profile, profile.wall_seconds));
  line["tokens_per_second"] = Rounded(TokensPerSecond(profile));
  line["kernel_thread_ms_per_step"] = Rounded(MsPerStep(profile, profile.kernel_seconds()));
  line["off_core_thread_ms_per_step"] = Rounded(MsPerStep(profile, profile.off_core_seconds()));
  line["no_kernel_thread_ms_per_step"] = Rounded(MsPerStep(profile, NoKernelSeconds(profile)));
  line["percent_of_peak"] = Rounded(Percent(profile.speed_of_light_seconds, profile.wall_seconds));
  line["cpu"] = m.processor.model;
  line["simd"] = m.simd;
  line["peak_gflops"] = Rounded(m.all_gflops);
  line["peak_core_l2_gbps"] = Rounded(m.core_l2_gbps);
  line["peak_memory_gbps"] = Rounded(m.all_dram_gbps);
  line["peak_update_gbps"] = Rounded(m.all_update_gbps);
  return line;
}

std::string KernelRows(const Profile& profile) {
  std::string text = fmt::format("{:<24} {:>10} {:>10} {:>7} {:>9} {:>9} {:>10} {}\n", "kernel", "calls", "ms", "share",
                                 "GFLOP/s", "GB/s", "% roofline", "bound by");
  for (const KernelTime& k : profile.kernels) {
    text += fmt::format("{:<24} {:>10.4g} {:>10.4g} {:>6.1f}% {:>9.4g} {:>9.4g} {:>10.1f} {}\n", k.name,
                        static_cast<double>(k.calls) / static_cast<double>(profile.steps.size()),
                        MsPerStep(profile, k.seconds), Percent(k.seconds, profile.thread_seconds()),
                        Gigas(k.flops, k.seconds), Gigas(k.bytes, k.seconds), k.percent_of_roofline(), k.bound);
  }
  const auto row = [&](const char* name, double seconds) {
    text += fmt::format("{:<24} {:>10} {:>10.4g} {:>6.1f}%\n", name, "", MsPerStep(profile, seconds),
                        Percent(seconds, profile.thread_seconds()));
  };
  row("all kernels", profile.kernel_seconds());
  row("not on a core", profile.off_core_seconds());
  row("no kernel", NoKernelSeconds(profile));
  return text;
}

}  // namespace

std::string FormatTable(const Profile& profile) {
  std::string text = profile.machine.Describe() + "\n";
  text += fmt::format("{}: step{} {} to {}, density {:.4g}, {} tokens a step\n\n", profile.run,
                      profile.steps.size() == 1 ? "" : "s", profile.steps.front().step, profile.steps.back().step,
                      profile.density, profile.tokens_per_step);
  text += fmt::format("A step, in time of all {} threads together; rates are those of one thread.\n",
                      profile.machine.threads);
  text += KernelRows(profile);
  text += "\nA step, by the clock.\n";
  text += fmt::format("{:<24} {:>10} {:>10} {:>7}\n", "phase", "", "ms", "share");
  for (const auto& [name, seconds] : Phases(profile)) {
    text += fmt::format("{:<24} {:>10} {:>10.4g} {:>6.1f}%\n", name, "", MsPerStep(profile, seconds),
                        Percent(seconds, profile.wall_seconds));
  }
  text += fmt::format("{:<24} {:>10} {:>10.4g}  {:.0f} tokens/s\n", "step", "",
                      MsPerStep(profile, profile.wall_seconds), TokensPerSecond(profile));
  text += fmt::format("{:<24} {:>10} {:>10.4g}  the step is at {:.1f} % of it\n", "speed of light", "",
                      MsPerStep(profile, profile.speed_of_light_seconds),
                      Percent(profile.speed_of_light_seconds, profile.wall_seconds));
  return text;
}

std::string FormatJson(const Profile& profile) {
  std::string text = ProfileJson(profile).dump() + "\n";
  for (const KernelTime& kernel : profile.kernels) text += KernelJson(profile, kernel).dump() + "\n";
  for (const auto& [name, seconds] : Phases(profile)) {
    const Json line = {{"kind", "phase"},
                       {"name", name},
                       {"ms_per_step", Rounded(MsPerStep(profile, seconds))},
                       {"percent_of_time", Rounded(Percent(seconds, profile.wall_seconds))}};
    text += line.dump() + "\n";
  }
  return text;
}

}  // namespace filigree::train
