/* What libpumice_sentencepiece.so offers: plain C, so that no symbol or type of SentencePiece (nor of the protobuf inside it) meets the program. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define PUMICE_SENTENCEPIECE_ABI 1

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*pumice_text_sink)(void* context, const char* text, size_t bytes);
typedef void (*pumice_id_sink)(void* context, int32_t id);

/* Functions that return int give 0, or 1 after having told `error` why. A model may be used by several threads. */
struct pumice_sentencepiece {
  int (*load)(const char* bytes, size_t size, void** model, void* context, pumice_text_sink error);
  void (*release)(void* model);
  int32_t (*size)(void* model);
  int32_t (*eos)(void* model); /* -1 for none */
  int (*is_control)(void* model, int32_t id);
  void (*piece)(void* model, int32_t id, void* context, pumice_text_sink text);
  int (*encode)(void* model, const char* text, size_t bytes, void* context, pumice_id_sink id, pumice_text_sink error);
  int (*decode)(void* model, const int32_t* ids, size_t count, void* context, pumice_text_sink text, pumice_text_sink error);
  /* `type` is "unigram" or "bpe". The model's bytes go to `model`. */
  int (*train)(const char* const* texts, const size_t* bytes, size_t count, const char* type, int32_t vocab_size, void* context,
               pumice_text_sink model, pumice_text_sink error);
};

/* NULL for a version this library does not have. Exported under this name. */
const struct pumice_sentencepiece* pumice_sentencepiece_functions(int version);

#ifdef __cplusplus
}
#endif
