// Directories that commands write models into.
#pragma once
#include <string>
#include <vector>

namespace pumice {

// A new directory for a model. Throws UsageError when there is something in it, unless that may go, and when it is, or lies in, one that is read.
void make_output(const char* command, const std::string& out, bool overwrite, const std::vector<std::string>& from = {});

// Everything of a model that is neither config.json nor weights: tokenizer files, generation and preprocessor settings, a tower inside.
void copy_companions(const std::string& from, const std::string& to);

}  // namespace pumice
