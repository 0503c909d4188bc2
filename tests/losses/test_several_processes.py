"""What is divided by numbers of objects is divided by those of all processes."""

import pytest
import torch
import torch.multiprocessing

from tests.losses import two_processes

UNEVEN, HALF_EMPTY = (3, 1, 2, 2), (3, 2, 0, 0)


@pytest.fixture(scope="module")
def of_processes(tmp_path_factory):
    """Terms and gradients of each case, of both processes."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(two_processes.run, (folder, [UNEVEN, HALF_EMPTY]), nprocs=2)
    results = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    return {counts: [result[counts] for result in results] for counts in (UNEVEN, HALF_EMPTY)}


def test_two_processes_equal_one_with_the_whole_batch(of_processes):
    (first_losses, first), (second_losses, second) = of_processes[UNEVEN]
    whole_losses, whole = two_processes.losses_and_gradients(UNEVEN, slice(None))
    for term, value in whole_losses.items():
        torch.testing.assert_close(
            (first_losses[term] + second_losses[term]) / 2, value.detach(), rtol=1e-6, atol=1e-9
        )
    for expected, *parts in zip(whole, first, second, strict=True):
        torch.testing.assert_close(torch.cat(parts) / 2, expected, rtol=1e-6, atol=1e-9)


def test_a_process_without_objects_takes_part_and_changes_nothing(of_processes):
    (first_losses, first), (second_losses, second) = of_processes[HALF_EMPTY]
    whole_losses, _ = two_processes.losses_and_gradients(HALF_EMPTY, slice(None))
    # Its denoising queries stand for nothing and count nothing; in one large batch they are trained as background.
    for term in (term for term in whole_losses if "_dn_" not in term):
        mean = (first_losses[term] + second_losses[term]) / 2
        torch.testing.assert_close(mean, whole_losses[term].detach(), rtol=1e-6, atol=1e-9)
    assert all(second_losses[term] == 0 for term in whole_losses if "_dn_" in term)
    assert all(gradient.isfinite().all() for gradient in (*first, *second))
