def test_x(finished):
    print(finished.result["seconds"])
    print((finished.out/"rounds.jsonl").read_text())
