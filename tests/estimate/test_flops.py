from xmc.estimate.flops import Cost, Row, table


def test_the_table_sums_and_compares() -> None:
    rows = [
        Row("one", Cost(1000, 4 << 20), Cost(600, 2 << 20, 1 << 20)),
        Row("two", None, Cost(400, 1 << 20)),
        Row("classifier", Cost(5000, 8 << 20), Cost(50, 1 << 20, 1 << 20)),
    ]
    _, _, one, two, classifier, total, _, ratio = table(rows).splitlines()
    assert one == "| one | 1,000 | 4.00 | 600 | 3.00 | 1.00 |"
    assert two == "| two | - | - | 400 | 1.00 | 0.00 |"
    assert classifier == "| classifier | 5,000 | 8.00 | 50 | 2.00 | 1.00 |"
    assert total == "| all | 6,000 | 12.00 | 1,050 | 6.00 | 2.00 |"
    assert ratio == "before the classifier: 1.00000 times the dense multiply-adds"
