#include <utility>

#include "worker/cli/completion.h"

namespace filigree::cli {
namespace {

// One line: what stands before the first full stop or line break is enough for a list.
std::string Short(const std::string& description) {
  std::string line = description.substr(0, description.find('\n'));
  constexpr size_t kMost = 90;
  return line.size() <= kMost ? line : line.substr(0, kMost - 3) + "...";
}

std::vector<Word> FlagsOf(const CLI::App& app) {
  std::vector<Word> flags;
  for (const CLI::Option* option : app.get_options({})) {
    const bool takes_value = option->get_items_expected_max() > 0;
    for (const std::string& name : option->get_lnames())
      flags.push_back({"--" + name, Short(option->get_description()), takes_value});
    for (const std::string& name : option->get_snames())
      flags.push_back({"-" + name, Short(option->get_description()), takes_value});
  }
  return flags;
}

void Walk(const CLI::App& app, const std::string& path, std::vector<Node>& tree) {
  Node node;
  node.path = path;
  node.flags = FlagsOf(app);
  const std::vector<const CLI::App*> commands = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* command : commands)
    node.commands.push_back({command->get_name(), Short(command->get_description()), false});
  tree.push_back(std::move(node));
  for (const CLI::App* command : commands)
    Walk(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), tree);
}

}  // namespace

std::vector<Node> CompletionTree(const CLI::App& app) {
  std::vector<Node> tree;
  Walk(app, "", tree);
  return tree;
}

}  // namespace filigree::cli
