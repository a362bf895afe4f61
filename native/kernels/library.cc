// The operators of this project, beside libtorch's own: called through the same dispatcher, checked by the same schemas.
#include <torch/library.h>

#include "kernels.h"

TORCH_LIBRARY(prospect, library) {
  library.def("token_logps(Tensor hidden, Tensor weight, Tensor targets, int chunk, float soft_cap=0.) -> Tensor", &prospect::tokenLogps);
  library.def(
      "adamw_(Tensor(a!)[] parameters, Tensor[] gradients, Tensor(b!)[] first_moments, Tensor(c!)[] second_moments, int step, "
      "float learning_rate, float beta1, float beta2, float epsilon, float weight_decay, float gradient_scale) -> ()",
      &prospect::adamw);
}
