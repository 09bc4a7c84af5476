#include "pumice/train/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string step_name(int64_t step) {
  std::string digits = std::to_string(step);
  return "step-" + std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
}

std::vector<std::pair<std::string, Tensor>> named_masters(const ParameterStore& parameters) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& p : parameters.all()) { tensors.emplace_back(p->name(), p->master()); }
  return tensors;
}

// A flat tensor laid out as the arena, cut into the parameters it is made of.
std::vector<std::pair<std::string, Tensor>> as_parameters(const Tensor& flat, const ParameterStore& parameters) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& p : parameters.all()) {
    tensors.emplace_back(p->name(), flat.as_strided(p->shape(), contiguous_strides(p->shape()), p->arena_offset()));
  }
  return tensors;
}

std::string to_json(const TrainState& s) {
  return Json{{"step", s.step}, {"loader_position", s.loader_position}, {"metrics_bytes", s.metrics_bytes}, {"seed", s.seed},
              {"data", s.data}, {"options", parse_json(s.options)}}.dump(2) + "\n";
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

// `latest` is replaced in one rename: at any moment it names a complete checkpoint.
void point_latest(const fs::path& directory, const std::string& name) {
  fs::path link = directory / "latest", fresh = directory / ".latest-new";
  remove_quietly(fresh);
  fs::create_symlink(name, fresh);
  fs::rename(fresh, link);
}

void delete_old(const fs::path& directory, KeepRule keep) {
  const std::vector<fs::path> steps = saved_steps(directory);
  for (size_t i = 0; keep.newest > 0 && i + size_t(keep.newest) < steps.size(); ++i) {
    if (keep.every == 0 || step_of(steps[i]) % keep.every != 0) { remove_quietly(steps[i]); }
  }
}

}  // namespace

void save_optimizer(const std::string& directory, const Optimizer& optimizer, const WeightAverage* average, const ParameterStore& parameters) {
  write_safetensors(directory + "/optimizer.safetensors", optimizer.state(), {{"steps", std::to_string(optimizer.steps())}});
  if (average) { write_safetensors(directory + "/ema.safetensors", as_parameters(average->values(), parameters)); }
}

void write_image_text(const std::string& directory, const ImageTextModel& model, const Tokenizer& tokenizer) {
  write_safetensors(directory + "/model.safetensors", named_masters(model.parameters()));
  write_file_atomic(directory + "/config.json", to_json(model.config()));
  tokenizer.save(directory);
}

void save_checkpoint(const std::string& run_directory, const TrainState& state, KeepRule keep, const std::function<void(const std::string&)>& write) {
  const fs::path directory = fs::path(run_directory) / "checkpoints", final = directory / step_name(state.step);
  const fs::path partial = directory / (step_name(state.step) + ".partial");
  try {
    fs::create_directories(directory);
    remove_quietly(partial);
    fs::create_directory(partial);
    write(partial);
    write_file_atomic(partial / "state.json", to_json(state));
    if (fs::exists(final)) { remove_quietly(final); }  // the same step saved again after a resume
    fs::rename(partial, final);
    point_latest(directory, final.filename());
    delete_old(directory, keep);
  } catch (const fs::filesystem_error& e) {
    remove_quietly(partial);
    throw IoError(concat_text("[checkpoint] ", final.string(), " could not be written: ", e.code().message(),
                              ". The previous checkpoint is untouched"), __FILE__, __LINE__);
  } catch (const IoError& e) {
    remove_quietly(partial);
    throw IoError(concat_text(e.what(), ". The previous checkpoint is untouched"), e.file, e.line);
  }
}

void save_model(const std::string& directory, const ImageTextModel& model, const Tokenizer& tokenizer, const TrainState& state) {
  REQUIRE(UsageError, !directory.empty(), "[checkpoint] --out is required: the directory to write");
  REQUIRE(UsageError, !fs::exists(directory), "[checkpoint] ", directory, " exists already; choose another --out");
  const fs::path partial = directory + ".partial";
  try {
    remove_quietly(partial);
    fs::create_directories(partial);
    write_image_text(partial, model, tokenizer);
    write_file_atomic(partial / "state.json", to_json(state));
    fs::rename(partial, directory);
  } catch (const fs::filesystem_error& e) {
    remove_quietly(partial);
    throw IoError(concat_text("[checkpoint] ", directory, " could not be written: ", e.code().message()), __FILE__, __LINE__);
  } catch (const IoError&) {
    remove_quietly(partial);
    throw;
  }
}

void require_complete(const std::string& checkpoint, const std::vector<std::string>& more) {
  const char* tokenizer = fs::exists(fs::path(checkpoint) / "tokenizer.model") ? "tokenizer.model" : "tokenizer.json";  // of SentencePiece
  std::vector<std::string> needed = {"model.safetensors", "config.json", tokenizer, "state.json"}, missing;
  needed.insert(needed.end(), more.begin(), more.end());
  for (const std::string& file : needed) {
    if (!fs::exists(fs::path(checkpoint) / file)) { missing.push_back(file); }
  }
  REQUIRE(FormatError, missing.empty(), "[checkpoint] ", checkpoint, " is incomplete: ", join(missing), missing.size() > 1 ? " are" : " is",
          " missing. ", more.empty() ? "To evaluate" : "To resume", " it must hold ", join(needed), "; copy whole checkpoints, or name another one");
}

TrainState load_state(const std::string& checkpoint) {
  const std::string file = checkpoint + "/state.json";
  try {
    Json j = parse_json(read_file(file));
    TrainState s;
    s.step = j.at("step").get<int64_t>();
    s.loader_position = j.at("loader_position").get<int64_t>();
    s.metrics_bytes = j.at("metrics_bytes").get<int64_t>();
    s.seed = j.at("seed").get<uint64_t>();
    s.data = j.at("data").get<std::string>();
    s.options = j.at("options").dump();
    return s;
  } catch (const Json::exception& e) {
    throw FormatError(concat_text("[checkpoint] ", file, " is not a valid training state: ", e.what()), __FILE__, __LINE__);
  }
}

void load_parameters(const std::string& checkpoint, ParameterStore& parameters, Weights weights) {
  const std::string path = checkpoint + (weights == Weights::average ? "/ema.safetensors" : "/model.safetensors");
  REQUIRE(IoError, weights == Weights::trained || fs::exists(path), "[checkpoint] ", checkpoint,
          " keeps no moving average of its weights (no ema.safetensors): it was trained "
          "without --ema-decay");
  SafetensorsFile file = SafetensorsFile::open(path);
  std::vector<std::string> names = file.names();
  std::ostringstream problems;
  int count = 0;
  auto problem = [&](const auto&... parts) {
    if (++count <= 10) { problems << "\n  " << concat_text(parts...); }
  };
  for (const auto& p : parameters.all()) {
    if (std::find(names.begin(), names.end(), p->name()) == names.end()) { problem("missing    ", p->name(), " ", p->shape()); }
    else if (!(file.shape(p->name()) == p->shape())) {
      problem("misshapen  ", p->name(), ": the file has ", file.shape(p->name()), ", the model ", p->shape());
    }
  }
  for (const std::string& n : names) {
    if (!parameters.find(n)) { problem("unexpected ", n, " ", file.shape(n)); }
  }
  REQUIRE(FormatError, count == 0, "[checkpoint] ", path, " does not fit this model (", count, " problems):", problems.str());
  for (const auto& p : parameters.all()) { copy_into(p->change(), file.load(p->name())); }
}

void load_optimizer(const std::string& checkpoint, Optimizer& optimizer, WeightAverage* average, const ParameterStore& parameters) {
  const std::string path = checkpoint + "/optimizer.safetensors";
  SafetensorsFile file = SafetensorsFile::open(path);
  const std::vector<std::string> names = file.names();
  for (const auto& [name, tensor] : optimizer.state()) {
    REQUIRE(FormatError, std::find(names.begin(), names.end(), name) != names.end(), "[checkpoint] ", path, " holds no ", name,
            ": it is of another optimizer");
    Tensor saved = file.load(name);
    REQUIRE(FormatError, saved.size() == tensor.size(), "[checkpoint] ", path, ": ", name, " has ", saved.size(), " elements; this model's has ",
            tensor.size());
    copy_into(tensor, saved);
  }
  const auto metadata = file.metadata();
  auto steps = metadata.find("steps");
  REQUIRE(FormatError, steps != metadata.end() && !steps->second.empty() && steps->second.size() < 19 &&
              steps->second.find_first_not_of("0123456789") == std::string::npos,
          "[checkpoint] ", path, " does not say after how many steps it was saved: its metadata needs \"steps\"");
  optimizer.set_steps(std::stoll(steps->second));
  if (!average) { return; }
  SafetensorsFile ema = SafetensorsFile::open(checkpoint + "/ema.safetensors");
  for (const auto& [name, tensor] : as_parameters(average->values(), parameters)) { copy_into(tensor, ema.load(name)); }
}

LoadedImageText load_image_text(const std::string& path, Weights weights, Device device) {
  std::string checkpoint = find_checkpoint(path);
  require_complete(checkpoint);
  ImageTextConfig config = image_text_config_from_json(read_file(checkpoint + "/config.json"), checkpoint + "/config.json");
  Tokenizer tokenizer = Tokenizer::load(checkpoint);
  REQUIRE(FormatError, tokenizer.vocab_size() <= config.vocabulary, "[checkpoint] ", checkpoint, "/", tokenizer.file_name(), " has ",
          tokenizer.vocab_size(), " tokens but the model's text embedding only ", config.vocabulary,
          " rows: this tokenizer does not belong to this model");
  auto model = make_model(config, 0, DType::f32, device);
  load_parameters(checkpoint, model->parameters(), weights);
  TrainState state = load_state(checkpoint);
  return {checkpoint, std::move(model), std::move(tokenizer), std::move(state)};
}

}  // namespace pumice
