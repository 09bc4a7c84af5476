// The option table of LIMoE training: flags of `pumice train limoe`, keys of its JSON config, and what a run's config.json holds.
#pragma once
#include "pumice/tensor/options.h"
#include "pumice/train/image_text_trainer.h"

namespace pumice {

void declare_training_options(OptionTable& table, ImageTextTraining& training);
// Without the options that say where a run lies and how it was started (out, resume, overwrite, prefetch).
std::string to_json(const ImageTextTraining& training);

}  // namespace pumice
