"""The result as plain data: records, their order, tables, answers, merging and plots."""
