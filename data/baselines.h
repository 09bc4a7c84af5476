// What pictures give away without a model: nearest neighbours by colour and by pixel, with labels that the model never sees.
#pragma once
#include <vector>

#include "pumice/data/image.h"

namespace pumice {

// Share of `asked` whose nearest neighbour among `known` has their label. The first of equal distances wins.
//   colour: 8 x 8 x 8 bins of RGB, shares compared by their summed differences
//   pixel:  pictures at 16 x 16, compared by squared differences
double colour_histogram_1nn(const std::vector<Image>& known, const std::vector<int>& known_labels, const std::vector<Image>& asked,
                            const std::vector<int>& asked_labels);
double pixel_1nn(const std::vector<Image>& known, const std::vector<int>& known_labels, const std::vector<Image>& asked,
                 const std::vector<int>& asked_labels);

}  // namespace pumice
