"""`check` judges mappings against the types of both sites: what can never work is a problem, with the hint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamd.apply.event.mapping import mapped_types
from streamd.check.columns import judge_descriptors, unfit
from streamd.check.judging import Finding, Severity
from streamd.check.mappings import judge_mappings, unmappable
from streamd.model import Catalogue, Column, DocumentType, Kind, Link
from streamd.settings import MappingSettings, SubscribedDoctype
from streamd.wire import describe
from tests.support.sites import mapping as example
from tests.support.sites.mapping import catalogue, columns, doctype, item

PROBLEM, WARNING = Severity.PROBLEM, Severity.WARNING
ENTRY = SubscribedDoctype(doctype="Opportunity", mapping="Opportunity from OneHash")


def judged(
    *fields: dict[str, Any], here: DocumentType = example.OPPORTUNITY, there: DocumentType = example.REMOTE_OPPORTUNITY
) -> list[Finding]:
    """What is said of a mapping of these fields between two types; leads are mapped too."""
    given = {"local_doctype": here.name, "remote_doctype": there.name, "fields": fields}
    mappings = {**example.EXAMPLE, "M": MappingSettings.model_validate(given)}
    entry = SubscribedDoctype(doctype=here.name, mapping="M")
    site = catalogue(here, example.LEAD)
    told = [describe(there), *example.THERE[1:]]
    found = judge_mappings([entry], mappings, site, told)
    reasons = unmappable([entry], mappings, site, told)
    assert bool(reasons) == any(each.severity is PROBLEM for each in found)
    return found


def field(local: str, remote: str | None = None, **more: Any) -> dict[str, Any]:
    return {"local_fieldname": local, "remote_fieldname": remote, **more}


def table(local: str, remote: str, mapping: str) -> dict[str, Any]:
    return field(local, remote, mapping_type="Child Table", mapping=mapping)


def looks_for(local: str = "party_name", mapping: str = "Lead from OneHash", **filters: Any) -> dict[str, Any]:
    return field(local, mapping_type="Document", mapping=mapping, remote_value_filters=filters or {"phone": "phone"})


def one(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def test_the_ancestors_example_is_in_order() -> None:
    assert judge_mappings([ENTRY], example.EXAMPLE, example.HERE, example.THERE) == []
    mapped = mapped_types(example.EXAMPLE, [ENTRY], example.HERE, example.THERE)
    found = judge_descriptors("hq", ["Opportunity"], example.HERE, example.THERE, mapped=mapped)
    assert {each.severity for each in found} == {Severity.OK}
    assert "stage" in found[0].what
    assert unfit(example.HERE, example.THERE, mapped=mapped) == {}


@pytest.mark.parametrize(
    ("given", "area", "what", "hint"),
    [
        (field("titel", "subject"), "titel", "no field of Opportunity here", "did you mean title"),
        (
            field("title", "subjekt"),
            "title",
            "subjekt is no field of OneHash Opportunity there",
            "did you mean subject",
        ),
        (field("title", "lines"), "title", "lines is a child table there", "a column there"),
        (field("items", "subject"), "items", "has no child table subject there", "name its field"),
        (field("items", default_value="x"), "items", "one value cannot fill", 'mapping_type = "Child Table"'),
        (table("itmes", "lines", "Item from OneHash"), "itmes", "no child table of this name", "did you mean items"),
        (table("items", "liens", "Item from OneHash"), "items", "no child table liens there", "did you mean lines"),
        (field("name", "subject"), "name", "a name is never mapped", "use_same_name = false"),
        (looks_for("title"), "title", "title is no link here", "links = { title"),
        (looks_for(phon="phone"), "party_name", "phon is no field of OneHash Lead there", "did you mean phone"),
        (looks_for(phone="eval:doc.phone =="), "party_name", "phone: ", "fix the expression"),
        (looks_for(phone="eval:doc.phon"), "party_name", "phon is no field", "did you mean phone"),
        (looks_for(country="eval:doc.address.county"), "party_name", "no such field there", "did you mean country"),
        (looks_for(country="eval:doc.phone.country"), "party_name", "doc.phone is no link", "one that is a link"),
        (field("title", default_value="x" * 141), "title", "default_value", "that the column can hold"),
    ],
)
def test_what_can_never_work_is_a_problem_at_its_field(given: dict[str, Any], area: str, what: str, hint: str) -> None:
    found = one(judged(given, field("opportunity_from", default_value="Lead")))
    assert (found.area, found.severity) == (f"mappings.M.{area}", PROBLEM)
    assert what in found.what
    assert hint in found.hint


def test_a_key_that_is_mapped_to_the_key_says_nothing_new_and_is_let_be() -> None:
    assert judged(field("name", "name")) == []


def test_a_column_that_the_database_makes_is_not_mapped() -> None:
    made = Column("shown", "text", Kind.TEXT, generated=True)
    assert "generated" in one(judged(field("shown", "subject"), here=doctype("Here", (made,)))).what


@pytest.mark.parametrize(
    ("column", "value", "fits"),
    [
        (Column("v", "bigint", Kind.INTEGER), "many", False),
        (Column("v", "bigint", Kind.INTEGER), "12", True),
        (Column("v", "bigint", Kind.INTEGER), 1.5, False),
        (Column("v", "bigint", Kind.INTEGER), 2.0, True),
        (Column("v", "boolean", Kind.BOOLEAN), True, True),
        (Column("v", "decimal(10,2)", Kind.DECIMAL), 1.5, True),
        (Column("v", "decimal(10,2)", Kind.DECIMAL), "nan", False),
        (Column("v", "date", Kind.DATE), 2024, False),
        (Column("v", "date", Kind.DATE), "2024-05-01", True),
        (Column("v", "varchar(3)", Kind.TEXT), "abcd", False),
        (Column("v", "varchar(4)", Kind.TEXT), "abcd", True),
        (Column("v", "text", Kind.TEXT), 7, True),
    ],
)
def test_a_default_value_has_to_fit_its_column(column: Column, value: Any, fits: bool) -> None:
    found = judged(field("v", default_value=value), here=doctype("Here", (column,)))
    assert not found if fits else one(found).severity is PROBLEM


def test_a_mapping_of_rows_has_to_be_that_of_the_child_table() -> None:
    found = judged(table("items", "lines", "Lead from OneHash"))
    assert [(each.area, each.severity) for each in found] == [
        ("mappings.Lead from OneHash.local_doctype", PROBLEM),
        ("mappings.Lead from OneHash.lead_name", PROBLEM),
    ]
    assert "'Opportunity Item'" in found[0].hint


@pytest.mark.parametrize("called", ["Opportunity Item", "tabOpportunity Item", "items"])
def test_a_child_table_may_be_called_by_its_doctype_its_table_or_its_field(called: str) -> None:
    inner = example.EXAMPLE["Item from OneHash"].model_copy(update={"local_doctype": called})
    mappings = {**example.EXAMPLE, "Item from OneHash": inner}
    assert judge_mappings([ENTRY], mappings, example.HERE, example.THERE) == []


def test_fields_of_child_rows_are_judged_as_well() -> None:
    rows = example.EXAMPLE["Item from OneHash"]
    fields = [field("parent", "code"), field("parenttype", "code"), field("item_cod", "code"), field("qty", "amuont")]
    inner = MappingSettings.model_validate(rows.model_dump() | {"fields": fields})
    found = judge_mappings([ENTRY], {**example.EXAMPLE, "Item from OneHash": inner}, example.HERE, example.THERE)
    assert [each.area.rpartition(".")[2] for each in found] == ["parent", "parenttype", "item_cod", "qty"]
    assert {each.severity for each in found} == {PROBLEM}


OWNED = doctype("Owned", ("owner_name",), links=(Link(("owner_name",), "Lead"),))


@pytest.mark.parametrize(
    ("leads_to", "severity", "said"),
    [
        ("OneHash Lead", None, ""),
        ("Address", PROBLEM, "to Address there, which is not here"),
        ("Lead", PROBLEM, "to Lead there, which is not here"),
        (None, WARNING, "is no link to one type there"),
    ],
)
def test_a_mapped_link_has_to_lead_to_what_becomes_its_type(
    leads_to: str | None, severity: Severity | None, said: str
) -> None:
    links = (Link(("person",), leads_to),) if leads_to is not None else ()
    there = doctype("There", ("person",), links=links)
    given = {"local_doctype": "Owned", "remote_doctype": "There", "fields": [field("owner_name", "person")]}
    mappings = {**example.EXAMPLE, "M": MappingSettings.model_validate(given)}
    entries = [
        SubscribedDoctype(doctype="Owned", mapping="M"),
        SubscribedDoctype(doctype="Lead", mapping="Lead from OneHash"),
    ]
    here = catalogue(OWNED, replace(example.LEAD, name="Lead"))
    if leads_to == "Lead":
        here = catalogue(OWNED, example.doctype("Person", ("lead_name",)))
        mappings["Lead from OneHash"] = MappingSettings(local_doctype="Person", remote_doctype="OneHash Lead")
    found = judge_mappings(entries, mappings, here, [describe(there), *example.THERE[1:]])
    if severity is None:
        assert found == []
    else:
        assert (one(found).severity, one(found).area) == (severity, "mappings.M.owner_name")
        assert said in found[0].what


def test_a_link_that_is_carried_over_does_not_lead_to_another_type() -> None:
    there = doctype("There", ("owner_name",), links=(Link(("owner_name",), "Opportunity"),))
    here = doctype("Owned", ("owner_name",), links=(Link(("owner_name",), "Lead"),))
    given = MappingSettings(local_doctype="Owned", remote_doctype="There")
    entry = SubscribedDoctype(doctype="Owned", mapping="M")
    site = catalogue(here, example.LEAD, example.OPPORTUNITY)
    found = one(judge_mappings([entry], {"M": given}, site, [describe(there)]))
    assert "to Opportunity there, which becomes Opportunity here" in found.what
    dropped = given.model_copy(update={"unmapped": "drop"})
    assert judge_mappings([entry], {"M": dropped}, site, [describe(there)]) == []


def test_a_dynamic_link_needs_its_type() -> None:
    dynamic = doctype("Here", ("party_name", "party_type"), links=(Link(("party_name",), None, "party_type"),))
    found = one(judged(looks_for(), here=dynamic))
    assert found.severity is WARNING
    assert 'default_value = "Lead"' in found.hint
    assert judged(looks_for(), field("party_type", default_value="Lead"), here=dynamic) == []


def test_a_default_value_on_what_is_looked_for_is_pointed_out() -> None:
    found = one(judged(looks_for() | {"default_value": "LEAD-1"}))
    assert (found.severity, "no OneHash Lead is searched for" in found.what) == (WARNING, True)


def test_a_constant_that_is_nearly_a_field_is_pointed_out() -> None:
    found = one(judged(looks_for(phone="phone_")))
    assert (found.severity, found.hint) == (WARNING, "did you mean phone?")
    assert judged(looks_for(phone="always this")) == []


def test_a_single_is_not_mapped() -> None:
    single = replace(example.LEAD, name="Settings", single=True)
    assert "is a single" in one(judged(here=single)).what


def test_a_type_that_is_missing_here_or_there_is_said() -> None:
    found = judge_mappings([ENTRY], example.EXAMPLE, catalogue(example.LEAD), example.THERE)
    assert [each.severity for each in found] == [PROBLEM]
    found = judge_mappings([ENTRY], example.EXAMPLE, example.HERE, example.THERE[:1])
    assert [(each.severity, each.area) for each in found] == [
        (WARNING, "mappings.Lead from OneHash.remote_doctype"),
    ]


def test_what_this_site_can_tell_is_told_before_the_producer_is_asked() -> None:
    typo = example.EXAMPLE["Lead from OneHash"].model_copy(update={"fields": ()})
    fields = [field("led_name", "full_name")]
    typo = MappingSettings.model_validate(typo.model_dump() | {"fields": fields})
    found = judge_mappings([ENTRY], {**example.EXAMPLE, "Lead from OneHash": typo}, example.HERE, ())
    assert one(found).area == "mappings.Lead from OneHash.led_name"


def test_a_type_there_with_the_name_of_a_mapped_one_here_is_warned_about() -> None:
    told = [*example.THERE, describe(doctype("Lead", ("x",)))]
    found = one(judge_mappings([ENTRY], example.EXAMPLE, example.HERE, told))
    assert (found.severity, found.area) == (WARNING, "mappings.Lead from OneHash")


def test_documents_that_are_looked_for_round_in_a_circle_are_warned_about() -> None:
    lead = doctype("Lead", ("lead_name", "deal"), links=(Link(("deal",), "Opportunity"),))
    back = field("deal", mapping_type="Document", mapping=ENTRY.mapping, remote_value_filters={"phone": "phone"})
    given = example.EXAMPLE["Lead from OneHash"].model_dump() | {"fields": [back]}
    mappings = {**example.EXAMPLE, "Lead from OneHash": MappingSettings.model_validate(given)}
    found = one(judge_mappings([ENTRY], mappings, catalogue(example.OPPORTUNITY, lead), example.THERE))
    assert found.severity is WARNING
    assert "Opportunity from OneHash → Lead from OneHash → Opportunity from OneHash" in found.what


def test_a_type_that_leads_to_others_of_its_own_is_no_circle() -> None:
    lead = doctype("Lead", ("lead_name", "boss"), links=(Link(("boss",), "Lead"),))
    entry = SubscribedDoctype(doctype="Lead", mapping="Lead from OneHash")
    boss = field("boss", mapping_type="Document", mapping=entry.mapping, remote_value_filters={"phone": "phone"})
    given = example.EXAMPLE["Lead from OneHash"].model_dump() | {"fields": [boss]}
    mappings = {"Lead from OneHash": MappingSettings.model_validate(given)}
    assert judge_mappings([entry], mappings, catalogue(lead), example.THERE) == []


# The columns of a mapped type are compared through its mapping.


def compared(
    *fields: dict[str, Any], here: DocumentType, there: DocumentType, renamed: tuple[str, ...] = (), **more: Any
) -> list[Finding]:
    given = {"local_doctype": here.name, "remote_doctype": there.name, "fields": fields, **more}
    site = Catalogue({here.name: here}, frozenset())
    entry = SubscribedDoctype(doctype=here.name, mapping="M")
    mapped = mapped_types({"M": MappingSettings.model_validate(given)}, [entry], site, [describe(there)])
    found = judge_descriptors("hq", [here.name], site, [describe(there)], mapped=mapped, renamed=renamed)
    bad = [each for each in found if each.severity is not Severity.OK]
    reasons = unfit(site, [describe(there)], mapped=mapped, renamed=renamed)
    assert reasons.keys() == ({there.name} if any(each.severity is PROBLEM for each in bad) else set())
    return bad


PRICE = Column("price", "decimal(10,2)", Kind.DECIMAL)
AMOUNT = Column("amount", "decimal(10,4)", Kind.DECIMAL)


def test_a_value_that_the_column_here_cannot_hold_is_a_problem_under_both_names() -> None:
    found = one(compared(field("price", "amount"), here=doctype("A", (PRICE,)), there=doctype("B", (AMOUNT,))))
    assert found.severity is PROBLEM
    assert "tabA.price holds decimal (decimal(10,2)) here, and amount decimal (decimal(10,4)) there" in found.what


def test_columns_of_equal_names_that_the_mapping_parts_are_not_compared() -> None:
    here, there = doctype("A", (PRICE,)), doctype("B", (Column("price", "text", Kind.TEXT), PRICE_THERE))
    assert compared(field("price", "net"), here=here, there=there) == []


PRICE_THERE = Column("net", "decimal(10,2)", Kind.DECIMAL)
NEEDED = Column("needed", "varchar(140)", Kind.TEXT, nullable=False)


def test_a_column_that_must_be_filled_needs_a_field_a_default_or_a_lookup() -> None:
    here, there = doctype("A", (NEEDED,)), doctype("B", ("x",))
    found = one(compared(here=here, there=there))
    assert (found.severity, "mappings.M" in found.hint) == (PROBLEM, True)
    assert one(compared(field("needed", "x"), here=here, there=there)).severity is WARNING
    assert compared(field("needed", "x", default_value=""), here=here, there=there) == []
    assert compared(field("needed", default_value="y"), here=here, there=there) == []
    assert one(compared(here=here, there=doctype("B", ("needed",)))).severity is WARNING
    assert one(compared(here=here, there=doctype("B", ("needed",)), unmapped="drop")).severity is PROBLEM


def test_names_are_compared_by_place_and_not_at_all_where_this_site_gives_its_own() -> None:
    here, there = doctype("A", ("x",), key=("id",)), doctype("B", ("x",), key=("code",))
    assert compared(here=here, there=there) == []
    double = doctype("B", ("x",), key=("code", "year"))
    assert one(compared(here=here, there=double)).severity is PROBLEM
    assert compared(here=here, there=double, renamed=("B",)) == []
    numbered = replace(here, columns=(Column("id", "bigint", Kind.INTEGER, nullable=False), *here.columns[1:]))
    assert one(compared(here=numbered, there=there)).severity is WARNING
    assert compared(here=numbered, there=there, renamed=("B",)) == []


def test_a_type_that_is_not_mapped_may_have_names_of_its_own_as_well() -> None:
    here = doctype("A", ("x",), key=("id",))
    there = describe(doctype("A", ("x",), key=("code",)))
    assert unfit(catalogue(here), [there]).keys() == {"A"}
    assert not unfit(catalogue(here), [there], renamed=("A",))


def test_rows_of_a_mapped_child_table_are_compared_too() -> None:
    narrow = Column("code", "varchar(5)", Kind.TEXT)
    here = doctype("A", (), children=(item("Row", "A", columns=(narrow,)),))
    there = doctype("B", (), children=(item("Line", "B", field="lines", columns=columns("code")),))
    found = one(compared(field("items", "lines"), here=here, there=there))
    assert (found.severity, found.area) == (WARNING, "producers.hq.B.lines")
    assert "longer than 5" in found.why
