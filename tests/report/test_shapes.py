"""The table counts what the model has, under the module that has it."""

from math import prod

import jax
from described import CASES, PLAIN, all_cases

from dienjax.batch import Batch
from dienjax.models import DIN
from dienjax.report.shapes import table
from dienjax.training.losses import has_auxiliary


def variables(model, schema, loss):
    batch = Batch.abstract(schema, 2, 3, 4, negatives=has_auxiliary(model, loss))
    return jax.eval_shape(model.init, jax.random.key(0), batch)


def stages(case):
    lines = table(*CASES[case]).split("\n\n")[-1].splitlines()[2:]
    return dict(line.split(maxsplit=1) for line in lines)


@all_cases
def test_the_total_is_the_real_count(case):
    leaves = variables(*CASES[case])
    lines = table(*CASES[case]).splitlines()
    total = next(line.split() for line in lines if line.startswith("total"))
    assert int(total[1].replace(",", "")) == sum(prod(x.shape) for x in jax.tree.leaves(leaves["params"]))
    statistics = [line.split()[-1] for line in lines if line.startswith("running statistics")]
    expected = sum(prod(x.shape) for x in jax.tree.leaves(leaves.get("batch_stats", {})))
    assert int((statistics or ["0"])[0].replace(",", "")) == expected


@all_cases
def test_every_parameter_stands_under_its_module_with_shape_and_count(case):
    found, module = {}, ""
    for line in table(*CASES[case]).split("\n\n")[1].splitlines()[2:]:
        words = line.replace(", ", ",").split()
        module = module if line.startswith(" ") else words[0]
        if line.startswith(" "):
            found[f"{module}/{words[0]}"] = (words[1], int(words[2].replace(",", "")))
    leaves = jax.tree.leaves_with_path(variables(*CASES[case])["params"])
    expected = {
        "/".join(key.key for key in path): (str(list(leaf.shape)).replace(" ", ""), prod(leaf.shape))
        for path, leaf in leaves
    }
    assert found == expected


def test_a_small_table_in_full():
    model = DIN(
        PLAIN.with_dims(2), attention_hidden=(3,), tower=(4,), attention_activation="relu", tower_activation="relu"
    )
    assert table(model, model.schema).replace("─", "") == (
        "DIN\n\n"
        "module and parameter  shape      parameters   share\n"
        "\n"
        "embedder                             10,000   99.4%\n"
        "  item                [5000, 2]      10,000   99.4%\n"
        "attention                                31    0.3%\n"
        "  bias                [3]                 3    0.0%\n"
        "  kernel              [8, 3]             24    0.2%\n"
        "  mlp/out/bias        [1]                 1    0.0%\n"
        "  mlp/out/kernel      [3, 1]              3    0.0%\n"
        "tower                                    25    0.2%\n"
        "  dense_0/bias        [4]                 4    0.0%\n"
        "  dense_0/kernel      [4, 4]             16    0.2%\n"
        "  out/bias            [1]                 1    0.0%\n"
        "  out/kernel          [4, 1]              4    0.0%\n"
        "total                                10,056  100.0%\n\n"
        "stage            shape\n"
        "\n"
        "history_BTE      [B, T, 2]\n"
        "candidate_BKE    [B, K, 2]\n"
        "weight_BKT       [B, K, T]\n"
        "interest_BKE     [B, K, 2]\n"
        "tower_input_BKF  [B, K, 4]\n"
        "logit_BK         [B, K]"
    )


def test_stages_of_dien():
    assert stages("aigru") == {
        "history_BTE": "[B, T, 5]", "candidate_BKE": "[B, K, 5]", "user_BU": "[B, 3]", "context_BKC": "[B, K, 3]",
        "state_BTH": "[B, T, 7]", "weight_BKT": "[B, K, T]", "interest_BKH": "[B, K, 7]",
        "tower_input_BKF": "[B, K, 18]", "logit_BK": "[B, K]",
    }  # fmt: skip
    assert stages("gru")["evolved_BTH"] == "[B, T, 5]"
    assert stages("gru")["positive_logit_BS"] == stages("gru")["negative_logit_BS"] == "[B, T − 1]"
