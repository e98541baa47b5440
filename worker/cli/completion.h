#ifndef FILIGREE_WORKER_CLI_COMPLETION_H_
#define FILIGREE_WORKER_CLI_COMPLETION_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

// What can be typed after a command, taken from the tree that CLI11 parses with, so that nothing is listed twice.

namespace filigree::cli {

struct Word {
  std::string text;  // "train", "--quiet", "-h"
  std::string description;
  bool takes_value = false;
};

struct Node {
  std::string path;  // of the subcommands, "bench step"; empty: the program itself
  std::vector<Word> commands, flags;
};

// The program and all its subcommands, each before those below it.
std::vector<Node> CompletionTree(const CLI::App& app);

// Scripts for the shells.
std::string BashCompletion(const std::vector<Node>& tree);
std::string ZshCompletion(const std::vector<Node>& tree);
std::string FishCompletion(const std::vector<Node>& tree);

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_COMPLETION_H_
