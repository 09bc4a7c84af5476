#include <optional>

#include "pumice/cli/command.h"
#include "pumice/cli/model_output.h"
#include "pumice/cli/terminal.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/export.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/projector.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/train/checkpoint.h"
#include "pumice/train/language_model.h"

namespace pumice {
namespace {

class ModelExport : public Command {
 public:
  std::string name() const override { return "model export"; }
  std::string summary() const override { return "write a language model, or one that sees, in another layout or type of numbers"; }
  std::string positional() const override { return "DIR"; }
  std::string examples() const override {
    return "  pumice model export runs/lm --dtype bf16 --out lm/                     # a run's last checkpoint, half as large\n"
           "  pumice model export llava/ --layout hf --out for-transformers/         # opened by LlavaForConditionalGeneration\n"
           "  pumice model export llava-1.5-7b-hf/ --layout moe_llava --out dense/   # then pumice model convert\n"
           "  pumice model export stage1/ --projector-only --out projector/          # mm_projector.safetensors\n"
           "  pumice model export old-bin/ --out new/                                # .bin to safetensors, shards of 5 GB\n";
  }
  void declare(OptionTable& o) override {
    o.add("image-tower", tower_, "Input", "directory of the vision tower, where the model does not hold it").alias("mm-vision-tower");
    o.add("ema", average_, "Input", "the moving average of the weights that pumice train lm --ema-decay kept");
    o.add("layout", layout_, "Output", "names of tensors and fields of a model that sees: LLaVA's, Transformers' or MoE-LLaVA's; unset: as it is")
        .one_of({"llava", "hf", "moe_llava"});
    o.add("dtype", dtype_, "Output", "of the weights; unset: each as it is").one_of({"bf16", "f16", "f32"}).synonym("bfloat16", "bf16")
        .synonym("float16", "f16").synonym("float32", "f32");
    o.add("projector-only", projector_, "Output", "nothing but the projector");
    o.add("out", out_, "Output", "directory of the new model").alias("output-dir");
    o.add("overwrite", overwrite_, "Output", "replace the model that is in --out");
    o.add("max-shard-bytes", shard_, "Output", "size of a shard");
  }
  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, arguments.size() == 1, kCommand, ": one directory is required, got ", arguments.size());
    const std::string from = model_directory(arguments[0]), path = from + "/config.json", config = read_file(path);
    const bool sees = is_llava_config(config, path);
    REQUIRE(UsageError, sees || (layout_.empty() && !projector_), kCommand, ": ", from, " reads text alone, so it has no ",
            projector_ ? "projector" : "layout to choose", "; `pumice model assemble` gives it a vision tower");
    REQUIRE(UsageError, !sees || !average_, kCommand, ": only language models that are trained here keep a moving average of their weights");
    if (sees) { return projector_ ? export_its_projector(from, config) : export_seeing(from); }
    return export_text(from, config);
  }

 private:
  static constexpr const char* kCommand = "pumice model export";

  WeightWriterOptions written() const {
    WeightWriterOptions o{.max_shard_bytes = shard_};
    if (!dtype_.empty()) { o.dtype = dtype_ == "bf16" ? DType::bf16 : dtype_ == "f16" ? DType::f16 : DType::f32; }
    return o;
  }
  std::string named(const std::string& config, const std::string& path) const {
    const std::optional<DType> dtype = written().dtype;
    return dtype ? with_dtype(config, path, *dtype) : config;
  }

  int export_text(const std::string& from, const std::string& config) {
    NamedTensors tensors;
    std::optional<Decoder> average;
    if (average_) {
      average.emplace(load_decoder(from));
      load_parameters(from, average->parameters(), Weights::average);
      tensors = hf_tensors(average->parameters(), [&](const std::string& p) { return hf_tensors_of(average->config(), p); }, DType::f32);
    } else {
      tensors = export_decoder(from);
    }
    ModelOutput output(kCommand, out_, overwrite_, {from});
    copy_companions(from, output.directory());
    write_weights(output.directory(), tensors, written());
    write_file_atomic(output.directory() + "/config.json", named(config, from + "/config.json"));
    const int64_t parameters = open_decoder(output.directory()).parameters().size();  // that it can be read back is the test of it
    output.commit();
    print_line(out_ + ": language model of " + human_count(double(parameters)) + " parameters");
    return 0;
  }

  int export_seeing(const std::string& from) {
    std::string none;
    const bool new_hf = layout_ == "hf" && read_llava_config(from, none = tower_).layout != "hf";
    LlavaFiles model = export_llava(from, tower_, {.layout = layout_, .image_token = new_hf ? image_token_of(from) : -1});
    model.config = named(model.config, from + "/config.json");
    ModelOutput output(kCommand, out_, overwrite_, tower_.empty() ? std::vector{from} : std::vector{from, tower_});
    copy_companions(from, output.directory());
    if (!new_hf) { copy_tower(from, output.directory()); }
    write_llava(output.directory(), model, written());
    const Llava back = open_llava(output.directory(), new_hf || !model.tower.empty() ? "" : tower_);
    output.commit();
    print_line(out_ + ": " + human_count(double(back.parameters().size())) + " parameters in the layout " + back.config().layout + "; " +
               std::to_string(back.config().image_tokens()) + " tokens per picture");
    return 0;
  }

  int export_its_projector(const std::string& from, const std::string& config) {
    const NamedTensors tensors = export_projector(from, tower_, layout_);
    ModelOutput output(kCommand, out_, overwrite_, {from});
    const std::string file = output.directory() + "/" + kProjectorFile;
    write_safetensors(file, tensors, {}, written().dtype);
    write_file_atomic(output.directory() + "/config.json", named(config, from + "/config.json"));
    const int64_t layers = read_projector(file).layers;
    output.commit();
    print_line(concat_text(out_, "/", kProjectorFile, ": a projector of ", layers, layers == 1 ? " linear layer" : " linear layers"));
    return 0;
  }

  std::string tower_, layout_, dtype_, out_;
  bool average_ = false, projector_ = false, overwrite_ = false;
  uint64_t shard_ = 5'000'000'000;
};

}  // namespace

std::unique_ptr<Command> make_model_export() { return std::make_unique<ModelExport>(); }

}  // namespace pumice
