// From the words of a command line to the values of an option table, and the help that describes them.
#pragma once
#include <string>
#include <vector>

#include "pumice/cli/command.h"

namespace pumice {

struct Parsed {
  std::vector<std::string> positional;
  bool help = false, verbose = false;
};

// Precedence: defaults < preset < config < flags. Accepts --flag value, --flag=value, --switch, --no-switch, --switch true, '_' for
// '-', and aliases. Throws UsageError with the nearest flag for one that does not exist.
Parsed parse_arguments(Command& command, OptionTable& options, const std::vector<std::string>& words);

std::string help_of(const Command& command, const OptionTable& options);
std::string help_of_program(const std::vector<std::unique_ptr<Command>>& commands);
// Of the commands that begin with the word `group`; "" when there are none.
std::string help_of_group(const std::vector<std::unique_ptr<Command>>& commands, const std::string& group);

}  // namespace pumice
