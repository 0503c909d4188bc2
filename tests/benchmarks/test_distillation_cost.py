"""The program that measures what a teacher costs, on the smallest student that takes its queries."""

from benchmarks import distillation_cost


def test_it_prints_a_row_for_every_case(capsys, monkeypatch):
    monkeypatch.setitem(distillation_cost.TEACHERS, "ViT-S/16", (32, 1, 2))
    flags = "--family deimv2 --size atto --teachers ViT-S/16 --image_size 160 --batch 1 --steps 4"
    distillation_cost.main([*flags.split(), "--warmup", "0", "--rounds", "1"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == [
        "| student alone",
        "| ViT-S/16, float32",
        "| ViT-S/16, bfloat16",
        "| ViT-S/16, bfloat16, every 2 steps",
        "| ViT-S/16, bfloat16, every 4 steps",
        "| student alone",
    ]
    assert all(float(row.split(" | ")[2]) > 0 for row in rows[1:])
