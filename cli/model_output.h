// Directories that commands write models into.
#pragma once
#include <string>
#include <vector>

namespace pumice {

// A new directory for a model. Throws UsageError when there is something in it, unless that may go, and when it is, lies in or holds one that is
// read; IoError when it cannot be made. Of a model that is replaced, and its tower inside, config.json, weights and companions go.
void make_output(const char* command, const std::string& out, bool overwrite, const std::vector<std::string>& from = {});

// The files that belong to a model beside config.json and its weights (tokenizers, generation and preprocessor settings, chat templates, licence), and
// its vision tower where config.json names a directory inside. Checkpoints, optimizers and strangers stay behind. Throws IoError.
void copy_companions(const std::string& from, const std::string& to);

}  // namespace pumice
