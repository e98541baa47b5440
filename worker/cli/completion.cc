#include "worker/cli/completion.h"

#include <fmt/format.h>

#include <memory>

#include "worker/cli/command.h"
#include "worker/cli/print.h"

// filigree completion SHELL: a script for the shell's own completion.

namespace filigree::cli {
namespace {

// Between single quotes, as sh and zsh read them.
std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string QuotedForFish(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

std::string Joined(const std::vector<Word>& words) {
  std::string text;
  for (const Word& word : words) text += (text.empty() ? "" : " ") + word.text;
  return text;
}

// "bench step" as where it is typed and the word that leads there: "bench/step"; "train" as "/train".
std::string StepTo(const std::string& path) {
  const size_t blank = path.rfind(' ');
  if (blank == std::string::npos) return "/" + path;
  return path.substr(0, blank) + "/" + path.substr(blank + 1);
}

// Cases that follow the words typed so far down the tree: 'bench/step') at='bench step' ;;
std::string Steps(const std::vector<Node>& tree) {
  std::string cases;
  for (const Node& node : tree)
    if (!node.path.empty()) cases += fmt::format("      {}) at={} ;;\n", Quoted(StepTo(node.path)), Quoted(node.path));
  return cases;
}

std::string StepsForFish(const std::vector<Node>& tree) {
  std::string cases;
  for (const Node& node : tree)
    if (!node.path.empty())
      cases += fmt::format("      case '{}'\n        set at '{}'\n", StepTo(node.path), node.path);
  return cases;
}

std::string DescribedForZsh(const std::vector<Word>& words) {
  std::string text;
  for (const Word& word : words) text += " " + Quoted(word.text + ":" + word.description);
  return text;
}

}  // namespace

std::string BashCompletion(const std::vector<Node>& tree) {
  std::string lists;
  for (const Node& node : tree)
    lists += fmt::format("    {}) commands={} flags={} ;;\n", Quoted(node.path), Quoted(Joined(node.commands)),
                         Quoted(Joined(node.flags)));
  return fmt::format(R"(# bash completion of filigree; load it with: source <(filigree completion bash)
_filigree() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} at='' commands='' flags='' i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$at/${{COMP_WORDS[i]}}" in
{}    esac
  done
  case "$at" in
{}  esac
  # What is neither a flag nor a command is a file: bash completes those itself where this list is empty.
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
  fi
}}
complete -o default -F _filigree filigree
)",
                     Steps(tree), lists);
}

std::string ZshCompletion(const std::vector<Node>& tree) {
  std::string lists;
  for (const Node& node : tree)
    lists += fmt::format("    {}) commands=({}) flags=({}) ;;\n", Quoted(node.path), DescribedForZsh(node.commands),
                         DescribedForZsh(node.flags));
  return fmt::format(R"(#compdef filigree
# zsh completion of filigree; load it with: source <(filigree completion zsh), after compinit
_filigree() {{
  local at='' i
  local -a commands flags
  for ((i = 2; i < CURRENT; ++i)); do
    case "$at/${{words[i]}}" in
{}    esac
  done
  case "$at" in
{}  esac
  if [[ $PREFIX == -* ]]; then
    _describe -o flag flags
  elif (( $#commands )); then
    _describe command commands
  else
    _files
  fi
}}
compdef _filigree filigree
)",
                     Steps(tree), lists);
}

// Paths are words and blanks, which need no escapes between double quotes.
std::string FishCompletion(const std::vector<Node>& tree) {
  std::string lists;
  for (const Node& node : tree) {
    const std::string here = fmt::format("complete -c filigree -n '__filigree_at \"{}\"'", node.path);
    for (const Word& word : node.commands)
      lists += fmt::format("{} -f -a {} -d {}\n", here, word.text, QuotedForFish(word.description));
    for (const Word& word : node.flags) {
      const bool is_long = word.text[1] == '-';
      lists += fmt::format("{} {} {}{} -d {}\n", here, is_long ? "-l" : "-s", word.text.substr(is_long ? 2 : 1),
                           word.takes_value ? " -r" : "", QuotedForFish(word.description));
    }
  }
  return fmt::format(R"(# fish completion of filigree; load it with: filigree completion fish | source
function __filigree_at
  set -l at ''
  for word in (commandline -opc)[2..-1]
    switch "$at/$word"
{}    end
  end
  test "$at" = "$argv[1]"
end
{})",
                     StepsForFish(tree), lists);
}

void AddCompletionCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("completion", "Print a script that completes these commands in a shell");
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer("bash: source <(filigree completion bash)");
  command->callback([&app, shell, &exit_code] {
    const std::vector<Node> tree = CompletionTree(app);
    Print("{}", *shell == "bash" ? BashCompletion(tree) : *shell == "zsh" ? ZshCompletion(tree) : FishCompletion(tree));
    exit_code = kExitDone;
  });
}

}  // namespace filigree::cli
